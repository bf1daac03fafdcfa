"""How it starts where Kubernetes, LiteLLM's chart or LiteLLM's command line start it, and what it says of its database."""

import json
import signal
import socket
import subprocess

import pytest

from harness.gateway import MASTER_KEY, run_gateway
from harness.postgres import PASSWORD, free_port
from harness.process import Process, binary, clean_environment, run_to_end
from harness.waiting import eventually

LINK = "tcp://10.96.3.4:4000"
QUICK = "bedgate_settings: {server: {lame_duck: 0, data_dir: %s}}\n"


def configured(folder) -> dict[str, str]:
    """A configuration that only BEDGATE_CONFIG names, with a data directory of its own."""
    (folder / "config.yaml").write_text(QUICK % (folder / "kept"))
    return {"BEDGATE_CONFIG": str(folder / "config.yaml")}


# --- Kubernetes ----------------------------------------------------------------------------------------------------------


def test_a_service_link_of_kubernetes_is_no_port(spawn_gateway):
    """A Service named `bedgate` sets BEDGATE_PORT in every pod of its namespace."""
    with spawn_gateway(env={"BEDGATE_PORT": LINK, "BEDGATE_TLS_PORT": LINK}) as running:
        asked = ["healthcheck", "--host", "127.0.0.1", "--port", str(running.port)]
        assert run_to_end(asked, {"BEDGATE_PORT": LINK}).returncode == 0
        running.config_path.write_text(json.dumps({"bedgate_settings": {"server": {"port": running.port}}}))
        by_configuration = run_to_end(["healthcheck"], {"BEDGATE_PORT": LINK, "BEDGATE_CONFIG": str(running.config_path)})
        assert by_configuration.returncode == 0, by_configuration.stderr
        assert f"BEDGATE_TLS_PORT={LINK}" in running.errors(), "it is noted"
    checked = run_to_end(["check"], {"BEDGATE_PORT": LINK})
    assert checked.returncode == 0 and LINK in checked.stdout


def test_an_option_is_taken_whatever_its_variable_says(spawn_gateway):
    with spawn_gateway(env={"BEDGATE_PORT": "nonsense", "BEDGATE_HOST": "nowhere.invalid"}) as running:
        assert running.call("GET", "/health/liveliness").status == 200


# --- which database ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [["check"], ["migrate"], ["reprice"], ["import-litellm", "--dry-run", "--from", "postgresql:///none"]]
)
def test_every_command_reads_the_configuration_that_the_environment_names_and_says_its_database(command, tmp_path):
    """LiteLLM's database cannot be read here: which one bedgate uses is said before."""
    done = run_to_end(command, configured(tmp_path), cwd=tmp_path)
    assert f"database: SQLite, file {tmp_path}/kept/bedgate.sqlite" in done.stdout, done
    assert not (tmp_path / "data").exists()
    assert (tmp_path / "kept").exists() == (command == ["migrate"]), "only a migration makes a file"


def test_an_empty_name_of_a_configuration_says_nothing(tmp_path):
    done = run_to_end(["check"], {"BEDGATE_CONFIG": ""}, cwd=tmp_path)
    assert done.returncode == 0 and "file data/bedgate.sqlite" in done.stdout, done


def test_keys_in_a_sqlite_file_that_is_not_used_are_told(postgres, spawn_gateway):
    with spawn_gateway() as running:
        running.generate_key()
        assert running.terminate() == 0
        where = ["--config", str(running.config_path), "--data-dir", str(running.data_dir)]
        at = ["serve", *where, "--host", "127.0.0.1", "--port", "0"]
        moved = Process(at, {**running.env, "DATABASE_URL": postgres.new_database()}, listening="listening on")
        try:
            assert "bedgate.sqlite" not in moved.output()
            assert "holds 1 keys, which are not in force" in moved.errors()
        finally:
            assert moved.terminate() == 0
        running.start()


def test_a_database_is_named_without_its_password(postgres, tmp_path):
    url = postgres.new_database()
    for command in ("check", "migrate"):
        done = run_to_end([command], {"DATABASE_URL": url}, cwd=tmp_path)
        name = url.rsplit("/", 1)[-1]
        assert f"database: Postgres at 127.0.0.1:{postgres.port}, database {name}" in done.stdout, done
        assert PASSWORD not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_a_reprice_of_a_database_that_is_not_there_says_what_to_do_and_makes_none(arguments, postgres, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "bedgate.sqlite").touch()
    for where, env in (("none", {}), ("empty", {}), ("none", {"DATABASE_URL": postgres.new_database()})):
        done = run_to_end(["reprice", "--data-dir", where, *arguments], env, cwd=tmp_path)
        assert done.returncode == 70 and "bedgate migrate" in done.stderr and "BEDGATE_CONFIG" in done.stderr, done
    assert not (tmp_path / "none").exists()
    assert run_to_end(["migrate", "--data-dir", "empty"], cwd=tmp_path).returncode == 0
    done = run_to_end(["reprice", "--data-dir", "empty", *arguments], cwd=tmp_path)
    assert done.returncode == 0 and "0 events" in done.stdout, done


# --- stopped while it starts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_waits_for_its_database_ends_at_a_signal(stop, tmp_path):
    """An orchestrator that changes its mind: not killed by the signal, and not waiting for the rest of the start."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        env = {"DATABASE_URL": f"postgresql://u:p@127.0.0.1:{mute.getsockname()[1]}/d"}
        command = [binary(), "serve", "--port", "0", "--data-dir", "data"]
        with subprocess.Popen(command, env=clean_environment(env), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as started:
            mute.accept()
            started.send_signal(stop)
            assert started.wait(5) == 0
            assert "stopped before it served" in started.stderr.read()


# --- LiteLLM's variables and command line ----------------------------------------------------------------------------------


def test_the_database_in_parts_is_where_keys_go(simulator, postgres, tmp_path):
    name = postgres.new_database().rsplit("/", 1)[-1]
    user, password = f"user@{name}", "p:a/s?s#w%20 @rd"
    postgres.query("postgres", f"""create user "{user}" superuser password '{password}'""")
    parts = {
        "DATABASE_HOST": "127.0.0.1",
        "DATABASE_PORT": str(postgres.port),
        "DATABASE_USERNAME": user,
        "DATABASE_PASSWORD": password,
        "DATABASE_NAME": name,
        "DATABASE_SCHEMA": "public",
    }
    with run_gateway({}, {**simulator.environment(), **parts}, tmp_path / "data") as running:
        running.secrets.add(password)
        running.generate_key(key_alias="kept")
        assert postgres.query(name, "select key_alias from bedgate.keys") == "kept"
        assert f"database: Postgres at 127.0.0.1:{postgres.port}, database {name}" in running.errors()
        assert not (tmp_path / "data" / "bedgate.sqlite").exists()


def test_a_database_in_parts_that_lacks_one_is_a_fault(tmp_path):
    parts = {"DATABASE_HOST": "db.example", "DATABASE_USERNAME": "litellm", "DATABASE_PASSWORD": "hush-hush"}
    refused = run_to_end(["serve", "--port", "0", "--data-dir", str(tmp_path / "data")], parts, cwd=tmp_path)
    assert refused.returncode == 64 and "DATABASE_NAME" in refused.stderr, refused
    assert "hush-hush" not in refused.stdout + refused.stderr and not (tmp_path / "data").exists()


def test_litellms_start_command_starts_it(simulator, tmp_path):
    port = free_port()
    env = {**simulator.environment(), **configured(tmp_path), "LITELLM_MASTER_KEY": MASTER_KEY}
    env |= {"HOST": "127.0.0.1", "PORT": str(port)}
    flags = ["--config", env.pop("BEDGATE_CONFIG"), "--num_workers", "8", "--detailed_debug", "--run_gunicorn"]
    running = Process(flags, env, "listening on", cwd=tmp_path)
    try:
        assert running.port == port
        [warning] = [line for line in running.errors().splitlines() if "not used by bedgate" in line]
        assert all(flag in warning for flag in ("--num_workers", "--detailed_debug", "--run_gunicorn"))
        assert run_to_end(["healthcheck"], env | configured(tmp_path)).returncode == 0
    finally:
        assert running.terminate() == 0
    port = free_port()
    running = Process([*flags, "--port", str(port)], env, "listening on", cwd=tmp_path)
    assert running.port == port and running.terminate() == 0


def test_litellms_options_are_not_in_the_help_and_one_that_would_be_missed_is_refused(tmp_path):
    told = run_to_end(["serve", "--help"]).stdout
    assert "--port" in told and "num_workers" not in told
    refused = run_to_end(["--max_budget", "10"], cwd=tmp_path)
    assert refused.returncode == 2 and "--max_budget" in refused.stderr


# --- what keeps it from starting, and what does not --------------------------------------------------------------------------


def test_a_port_that_is_taken_is_told_before_the_database_is_touched(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_to_end(["serve", "--port", str(port), "--data-dir", "data"], cwd=tmp_path)
    assert done.returncode == 70 and f"cannot listen on 127.0.0.1:{port}" in done.stderr, done
    assert not (tmp_path / "data" / "bedgate.sqlite").exists() and "migrated" not in done.stderr


def test_a_data_directory_that_cannot_be_used_is_told_once(tmp_path):
    (tmp_path / "file").touch()
    done = run_to_end(["serve", "--port", "0", "--data-dir", "file"], cwd=tmp_path)
    [told] = [line for line in done.stderr.splitlines() if "data directory" in line]
    assert done.returncode == 70 and told.count("os error") == 1, told


def test_missing_aws_credentials_are_one_warning(tmp_path):
    running = Process(["serve", "--port", "0"], configured(tmp_path), "listening on", cwd=tmp_path)
    try:
        told = lambda: [line for line in running.errors().splitlines() if "no AWS credentials" in line]  # noqa: E731
        eventually(told, 20, "it is told")
        assert len(told()) == 1 and "WARN" in told()[0] and "AWS_ACCESS_KEY_ID" in told()[0]
        assert all(line.startswith("[") for line in running.errors().splitlines()), "no line goes on in the next"
    finally:
        assert running.terminate() == 0
