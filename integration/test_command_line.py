"""The commands: check, migrate, demo, healthcheck, version; and what a wrong configuration says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.asking import CONVERSE, DOCUMENT_CONFIG, MESSAGES, deployment, model_list, text_of_stream
from harness.clients import boto3_client, curl_json
from harness.gateway import MASTER_KEY, run_gateway, with_ending
from harness.postgres import free_port
from harness.process import REPOSITORY, Process, clean_environment, run_to_end

BROKEN = """\
model_list:
  - model_name: no-model
    litellm_params: {}
  - model_name: bad-region
    litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: "us west 2"}
router_settings:
  num_retries: many
general_settings:
  master_key: os.environ/NOT_SET_ANYWHERE
"""


def test_check_names_every_fault_at_once_and_exits_64(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(BROKEN)
    checked = run_to_end(["check", "--config", str(config)])
    assert checked.returncode == 64
    said = checked.stderr + checked.stdout
    for fault in ("model_list[0].litellm_params.model", "us west 2", "num_retries", "NOT_SET_ANYWHERE"):
        assert fault in said, f"{fault} is not named in:\n{said}"


def test_serve_refuses_the_same_configuration_before_it_listens(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(BROKEN)
    served = run_to_end(["serve", "--config", str(config), "--port", "0", "--data-dir", str(tmp_path / "data")])
    assert served.returncode == 64 and "listening" not in served.stdout
    assert not (tmp_path / "data").exists()


def test_check_accepts_the_documents_configuration_and_the_example_directory(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(DOCUMENT_CONFIG)
    assert run_to_end(["check", "--config", str(config)]).returncode == 0
    shipped = run_to_end(
        ["check", "--config", str(REPOSITORY / "config")],
        {"LITELLM_MASTER_KEY": MASTER_KEY, "BEDGATE_MASTER_KEY": MASTER_KEY},
    )
    assert shipped.returncode == 0, shipped.stderr


def test_a_price_that_loses_digits_is_named_with_what_it_counts_as(tmp_path):
    prices = {"input_cost_per_token": "0.0000033333337", "output_cost_per_token": 0.000015}
    config = model_list(deployment("fine", **prices))
    (tmp_path / "config.yaml").write_text(with_ending(config))
    told = "model_list[0].litellm_params.input_cost_per_token: 0.0000033333337 counts as 0.000003333334"
    checked = run_to_end(["check", "--config", str(tmp_path / "config.yaml")])
    assert checked.returncode == 0 and told in checked.stdout and "output_cost" not in checked.stdout, checked
    with run_gateway(config, {}) as gateway:
        assert told in gateway.errors()


def test_a_directory_of_files_is_merged_and_a_contradiction_is_named(tmp_path):
    (tmp_path / "10-first.yaml").write_text(
        "model_list:\n  - {model_name: a, litellm_params: {model: bedrock/amazon.nova-pro-v1:0}}\n"
    )
    (tmp_path / "20-second.yaml").write_text(
        "model_list:\n  - {model_name: b, litellm_params: {model: bedrock/amazon.nova-lite-v1:0}}\n"
        "router_settings: {num_retries: 1}\n"
    )
    assert run_to_end(["check", "--config", str(tmp_path)]).returncode == 0
    (tmp_path / "30-third.yaml").write_text("router_settings: {num_retries: 2}\n")
    contradicted = run_to_end(["check", "--config", str(tmp_path)])
    assert contradicted.returncode == 64 and "num_retries" in contradicted.stderr + contradicted.stdout


def test_entries_of_other_providers_are_named_in_one_warning(simulator, tmp_path):
    config = (
        DOCUMENT_CONFIG
        + "  - model_name: gpt\n    litellm_params: {model: openai/gpt-4o, api_key: sk-openai-key-of-the-tests}\n"
    )
    with run_gateway(config, simulator.environment()) as running:
        running.secrets.add("sk-openai-key-of-the-tests")
        warnings = [line for line in (running.errors() + running.output()).splitlines() if "gpt" in line]
        assert len(warnings) == 1


def test_without_a_master_key_and_a_host_only_loopback_listens(simulator, tmp_path):
    port = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(with_ending(DOCUMENT_CONFIG))
    running = Process(
        ["serve", "--config", str(config), "--port", str(port), "--data-dir", str(tmp_path / "data")],
        simulator.environment(),
        listening="listening on",
    )
    listening = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True).stdout
    assert running.terminate() == 0
    assert [line.split()[3] for line in listening.splitlines()] == [f"127.0.0.1:{port}"]


def test_migrate_prepares_a_postgres_and_can_be_repeated(postgres, tmp_path):
    env = {"DATABASE_URL": postgres.new_database()}
    for _ in range(2):
        migrated = run_to_end(["migrate"], env, cwd=tmp_path)
        assert migrated.returncode == 0, migrated.stderr
    tables = postgres.query(env["DATABASE_URL"], "select tablename from pg_tables where schemaname = 'bedgate'").split()
    assert "spend_events" in tables


def test_several_instances_may_start_at_once_on_an_empty_postgres(spawn_gateway, postgres, tmp_path):
    env = clean_environment({"DATABASE_URL": postgres.new_database()})
    from harness.process import binary

    running = [subprocess.Popen([binary(), "migrate"], env=env, cwd=tmp_path, stderr=subprocess.PIPE) for _ in range(4)]
    assert [process.wait(30) for process in running] == [0, 0, 0, 0], [process.stderr.read() for process in running]


def test_healthcheck_follows_the_gateway(spawn_gateway):
    with spawn_gateway() as running:
        url = ["--port", str(running.port)]
        assert run_to_end(["healthcheck", *url]).returncode == 0
        port = running.port
    assert run_to_end(["healthcheck", "--port", str(port)]).returncode != 0


def test_version_is_printed():
    assert re.fullmatch(r"bedgate \d+\.\d+\.\d+\S*\n", run_to_end(["--version"]).stdout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """`bedgate demo` with nothing configured; ports of its own choosing so that tests may run beside each other."""
    folder = tmp_path_factory.mktemp("demo")
    running = Process(
        ["demo", "--port", "0", "--simulator-port", "0"],
        {"HOME": str(folder)},
        listening=r"(?<!simulator )listening on",
        cwd=folder,
    )
    yield running
    assert running.terminate() == 0


def test_the_demo_prints_a_key_and_says_that_it_is_simulated(demo):
    said = demo.output() + demo.errors()
    assert re.search(r"sk-[A-Za-z0-9_-]{16,}", said)
    assert "simulated" in said.lower()


def test_a_curl_line_of_the_demo_can_be_pasted(demo):
    said = demo.output().replace("\\\n", " ")
    lines = [line for line in said.splitlines() if line.startswith("curl ")]
    assert any("/converse" in line for line in lines) and any("/spend/logs" in line for line in lines), said
    for line in lines:
        pasted = subprocess.run(["bash", "-c", line], env=clean_environment(), capture_output=True, timeout=30)
        assert pasted.returncode == 0 and pasted.stdout, (line, pasted.stderr)


def paste(lines: str) -> str:
    """What a shell makes of lines of the demo, with boto3 and the AWS CLI at hand."""
    programs = Path(sys.executable).parent
    # The script names its interpreter by an absolute path, which an environment that was moved does not have.
    aws = f'aws() {{ "{sys.executable}" "{programs}/aws" "$@"; }}\n'
    env = clean_environment({"PATH": f"{programs}:{os.environ['PATH']}"})
    ran = subprocess.run(["bash"], input=aws + lines, env=env, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_boto3_lines_of_the_demo_can_be_pasted(demo):
    blocks = re.findall(r"^python3 .*?^END$", demo.output(), re.MULTILINE | re.DOTALL)
    by_pair = [block for block in blocks if re.search(r'aws_access_key_id="AKIA', block)]
    assert len(blocks) == 2 and len(by_pair) == 1
    assert all(len(paste(block)) > 10 for block in blocks)
    forged = re.sub(r'(aws_secret_access_key=")\w', r"\1-", by_pair[0])
    with pytest.raises(AssertionError, match="InvalidSignatureException"):
        paste(forged)


def test_the_aws_cli_line_of_the_demo_can_be_pasted(demo):
    [line] = re.findall(r"^AWS_ACCESS_KEY_ID=AKIA.*?\]'$", demo.output(), re.MULTILINE | re.DOTALL)
    assert json.loads(paste(line))["output"]["message"]["content"]


def test_the_demo_makes_further_pairs(demo):
    asked = curl_json(f"{demo.url}/key/generate", "sk-1234", '{"aws_credentials": true}')
    assert asked.status == 200 and asked.json()["aws_access_key_id"].startswith("AKIA"), asked.body


def test_the_key_of_the_demo_works_with_boto3_and_the_documents_model_names(demo):
    key = re.search(r"sk-[A-Za-z0-9_-]{16,}", demo.output()).group(0)
    client = boto3_client("bedrock-runtime", f"{demo.url}/bedrock", access_key_id=key)
    assert text_of_stream(
        client.converse_stream(modelId="us.anthropic.claude-3-5-sonnet-20240620-v1:0", messages=MESSAGES)
    )
    assert curl_json(f"{demo.url}/bedrock/model/cohere.command-r-v1:0/converse", key, CONVERSE).status == 200
    for name in ("my-bedrock-model", "my-claude-model", "my-cohere-model"):
        assert curl_json(f"{demo.url}/bedrock/model/{name}/converse", key, CONVERSE).status == 200, name
