"""The keys, teams, end users and budgets of a LiteLLM proxy go on working, with what they have spent."""

import hashlib
from datetime import datetime, timedelta, timezone

import pytest
from harness.asking import CONVERSE, DOCUMENT_CONFIG
from harness.clients import curl_json
from harness.postgres import free_port
from harness.process import run_to_end
from harness.waiting import eventually

# The columns of LiteLLM's schema.prisma that matter here, with their types in Postgres.
LIMITING_TABLES = """
CREATE TABLE "LiteLLM_UserTable" (user_id text PRIMARY KEY, max_budget double precision, spend double precision NOT NULL
    DEFAULT 0, models text[], tpm_limit bigint, rpm_limit bigint, max_parallel_requests integer, model_max_budget jsonb NOT
    NULL DEFAULT '{}', metadata jsonb NOT NULL DEFAULT '{}', budget_duration text);
CREATE TABLE "LiteLLM_TeamMembership" (user_id text, team_id text, spend double precision NOT NULL DEFAULT 0, budget_id
    text, PRIMARY KEY (user_id, team_id));
CREATE TABLE "LiteLLM_TagTable" (tag_name text PRIMARY KEY, models text[], spend double precision NOT NULL DEFAULT 0,
    budget_id text);
CREATE TABLE "LiteLLM_GuardrailsTable" (guardrail_id text PRIMARY KEY, guardrail_name text, litellm_params jsonb);
"""
TABLES = """
CREATE TABLE "LiteLLM_BudgetTable" (budget_id text PRIMARY KEY, max_budget double precision, soft_budget double precision,
    max_parallel_requests integer, tpm_limit bigint, rpm_limit bigint, model_max_budget jsonb, budget_duration text,
    budget_reset_at timestamp(3), created_at timestamp(3) NOT NULL DEFAULT now(), created_by text NOT NULL);
CREATE TABLE "LiteLLM_TeamTable" (team_id text PRIMARY KEY, team_alias text, organization_id text, admins text[],
    members text[], members_with_roles jsonb NOT NULL DEFAULT '{}', metadata jsonb NOT NULL DEFAULT '{}',
    max_budget double precision, spend double precision NOT NULL DEFAULT 0, models text[], max_parallel_requests integer,
    tpm_limit bigint, rpm_limit bigint, budget_duration text, budget_reset_at timestamp(3), blocked boolean NOT NULL
    DEFAULT false, created_at timestamp(3) NOT NULL DEFAULT now(), model_spend jsonb NOT NULL DEFAULT '{}');
CREATE TABLE "LiteLLM_EndUserTable" (user_id text PRIMARY KEY, alias text, spend double precision NOT NULL DEFAULT 0,
    allowed_model_region text, default_model text, budget_id text, blocked boolean NOT NULL DEFAULT false);
CREATE TABLE "LiteLLM_VerificationToken" (token text PRIMARY KEY, key_name text, key_alias text, soft_budget_cooldown
    boolean NOT NULL DEFAULT false, spend double precision NOT NULL DEFAULT 0, expires timestamp(3), models text[],
    aliases jsonb NOT NULL DEFAULT '{}', config jsonb NOT NULL DEFAULT '{}', user_id text, team_id text, permissions
    jsonb NOT NULL DEFAULT '{}', max_parallel_requests integer, metadata jsonb NOT NULL DEFAULT '{}', blocked boolean,
    tpm_limit bigint, rpm_limit bigint, max_budget double precision, budget_duration text, budget_reset_at timestamp(3),
    allowed_cache_controls text[] DEFAULT '{}', allowed_routes text[] DEFAULT '{}', model_spend jsonb NOT NULL DEFAULT
    '{}', model_max_budget jsonb NOT NULL DEFAULT '{}', budget_id text, created_at timestamp(3) DEFAULT now(),
    created_by text);
"""


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture()
def litellm(postgres):
    """A database of LiteLLM's, and a way to put rows into it."""
    url = postgres.new_database()
    postgres.query(url, TABLES)

    def insert(table: str, **columns: object) -> None:
        names = ", ".join(columns)
        values = ", ".join("'" + str(value).replace("'", "''") + "'" for value in columns.values())
        postgres.query(url, f'INSERT INTO "LiteLLM_{table}" ({names}) VALUES ({values})')

    return url, insert


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_clients_of_litellm_keep_their_keys_budgets_and_spend(litellm, spawn_gateway, database):
    url, insert = litellm
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).replace(tzinfo=None).isoformat()
    insert("BudgetTable", budget_id="small", max_budget=0.5, created_by="admin")
    insert("TeamTable", team_id="search", team_alias="Search", spend=9.5, max_budget=9, models="{my-claude-model}")
    insert("EndUserTable", user_id="customer", budget_id="small", spend=0.6)
    insert("VerificationToken", token=hash_of("sk-free-0123456789"), key_name="sk-...6789", spend=1.25, expires=tomorrow)
    insert("VerificationToken", token=hash_of("sk-spent-0123456789"), max_budget=2, spend=2.5, budget_duration="30d")
    insert("BudgetTable", budget_id="monthly", max_budget=2, budget_duration="30d", created_by="admin")
    insert("VerificationToken", token=hash_of("sk-monthly-0123456789"), budget_id="monthly", spend=2.5)
    insert("VerificationToken", token=hash_of("sk-monthly-left-0123456789"), budget_id="monthly", spend=1.5)
    insert("VerificationToken", token=hash_of("sk-for-good-0123456789"), budget_id="small", spend=0.6)
    insert("VerificationToken", token=hash_of("sk-for-good-left-0123456789"), budget_id="small", spend=0.4)
    insert("VerificationToken", token=hash_of("sk-team-0123456789"), team_id="search")
    insert("VerificationToken", token=hash_of("sk-cohere-0123456789"), models="{my-cohere-model}")
    insert("VerificationToken", token=hash_of("sk-blocked-0123456789"), blocked="true")
    insert("VerificationToken", token=hash_of("sk-old-0123456789"), expires="2020-01-01T00:00:00")
    insert("VerificationToken", token=hash_of("sk-page-0123456789"), team_id="litellm-dashboard")

    with spawn_gateway(config=DOCUMENT_CONFIG, database=database) as gateway:
        where = ["--config", str(gateway.config_path), "--data-dir", str(gateway.data_dir), "--from", url]
        for arguments, said in [
            (["--dry-run"], "keys: 10 would be imported, 0 were there before, 1 skipped"),
            ([], "keys: 10 imported, 0 were there before, 1 skipped"),
            ([], "keys: 0 imported, 10 were there before, 1 skipped"),
        ]:
            done = run_to_end(["import-litellm", *where, *arguments], gateway.env)
            assert done.returncode == 0 and said in done.stdout, done
            gateway.assert_no_secret_in("the import's output", done.stdout + done.stderr)

        def ask(key: str, model: str = "my-claude-model", *more: str):
            return curl_json(f"{gateway.base}/model/{model}/converse", key, CONVERSE, *more)

        eventually(lambda: ask("sk-free-0123456789").status == 200, 5, "the gateway knows the keys")
        expected = [
            ("sk-free-0123456789", "my-claude-model", 200, ""),
            ("sk-spent-0123456789", "my-claude-model", 400, "Budget has been exceeded"),
            ("sk-monthly-0123456789", "my-claude-model", 400, "Current cost: 2.5"),
            ("sk-monthly-left-0123456789", "my-claude-model", 200, ""),
            ("sk-for-good-0123456789", "my-claude-model", 400, "Current cost: 0.6"),
            ("sk-for-good-left-0123456789", "my-claude-model", 200, ""),
            ("sk-team-0123456789", "my-claude-model", 400, "Team=Search"),
            ("sk-team-0123456789", "my-cohere-model", 403, "team"),
            ("sk-cohere-0123456789", "my-claude-model", 403, "my-cohere-model"),
            ("sk-blocked-0123456789", "my-claude-model", 403, "blocked"),
            ("sk-old-0123456789", "my-claude-model", 403, "expired"),
            ("sk-page-0123456789", "my-claude-model", 403, ""),
        ]
        for key, model, status, named in expected:
            answer = ask(key, model)
            assert (answer.status, named in answer.body.decode()) == (status, True), (key, model, answer.body)
        refused = ask("sk-free-0123456789", "my-claude-model", "-H", "x-litellm-customer-id: customer")
        assert refused.status == 400 and b"Customer=customer" in refused.body
        info = gateway.call("GET", f"/key/info?key={hash_of('sk-free-0123456789')}").json()["info"]
        assert info["key_name"] == "sk-...6789" and info["spend"] >= 1.25
        assert gateway.call("GET", "/team/info?team_id=search").json()["team_info"]["team_alias"] == "Search"


def test_a_database_that_is_not_litellms_is_said_to_be_none(postgres, spawn_gateway):
    with spawn_gateway(config=DOCUMENT_CONFIG) as gateway:
        where = ["--config", str(gateway.config_path), "--data-dir", str(gateway.data_dir)]
        done = run_to_end(["import-litellm", *where, "--from", postgres.new_database()], gateway.env)
        assert done.returncode == 70 and "LiteLLM_BudgetTable" in done.stderr, done


def imported(gateway, url, *arguments):
    where = ["--config", str(gateway.config_path), "--data-dir", str(gateway.data_dir), "--from", url]
    done = run_to_end(["import-litellm", *where, *arguments], gateway.env)
    gateway.assert_no_secret_in("the import's output", done.stdout + done.stderr)
    return done


def test_a_budget_of_a_model_is_imported_in_each_form_that_litellm_takes(litellm, spawn_gateway):
    url, insert = litellm
    forms = {
        "sk-documented-0123456789": '{"my-claude-model": {"budget_limit": "0.0000001", "time_period": "1d"}}',
        "sk-own-names-0123456789": '{"my-claude-model": {"max_budget": 0.0000001, "budget_duration": "1d"}}',
    }
    for key, budget in forms.items():
        insert("VerificationToken", token=hash_of(key), model_max_budget=budget)
    with spawn_gateway(config=DOCUMENT_CONFIG) as gateway:
        done = imported(gateway, url)
        assert done.returncode == 0 and "keys: 2 imported, 0 were there before, 0 skipped" in done.stdout, done
        for key in forms:

            def ask(key=key):
                return curl_json(f"{gateway.base}/model/my-claude-model/converse", key, CONVERSE)

            eventually(lambda: ask().status in (200, 400), 5, "the gateway knows the key")
            eventually(lambda: b"Budget has been exceeded" in ask().body, 5, "the budget of the model holds")


def test_what_cannot_be_understood_makes_a_key_unimportable_never_unlimited(litellm, spawn_gateway):
    url, insert = litellm
    insert("VerificationToken", token=hash_of("sk-strange-0123456789"), model_max_budget='{"m": {"allowance": 1}}')
    insert("VerificationToken", token=hash_of("sk-plain-0123456789"))
    insert("BudgetTable", budget_id="odd", max_budget=5, budget_duration="fortnightly", created_by="admin")
    insert("VerificationToken", token=hash_of("sk-odd-budget-0123456789"), budget_id="odd")
    with spawn_gateway(config=DOCUMENT_CONFIG) as gateway:
        for arguments in (["--dry-run"], []):
            done = imported(gateway, url, *arguments)
            assert done.returncode == 70, done
            assert "1 skipped" in done.stdout and "allowance" in done.stdout and "fortnightly" in done.stdout
            assert 'its budget "odd" is skipped' in done.stdout
            assert "0 were there before, 2 skipped" in done.stdout
        for key, status in (("sk-strange-0123456789", 404), ("sk-odd-budget-0123456789", 404), ("sk-plain-0123456789", 200)):
            assert gateway.call("GET", f"/key/info?key={hash_of(key)}").status == status, key


def test_limits_that_would_not_hold_stop_the_import_until_they_are_accepted(litellm, postgres, spawn_gateway):
    url, insert = litellm
    postgres.query(url, LIMITING_TABLES)
    insert("BudgetTable", budget_id="small", max_budget=0.5, created_by="admin")
    insert("UserTable", user_id="capped", max_budget=1)
    insert("UserTable", user_id="narrow", models="{my-claude-model}")
    insert("UserTable", user_id="free", spend=3)
    insert("TeamTable", team_id="search", metadata='{"guardrails": ["pii"], "model_rpm_limit": {"m": 1}}')
    insert("TeamMembership", user_id="member", team_id="search", budget_id="small")
    insert("TagTable", tag_name="blue", budget_id="small")
    insert("GuardrailsTable", guardrail_id="g1", guardrail_name="pii", litellm_params='{"default_on": true}')
    told = {
        "limits of the user:": dict(user_id="capped"),
        "limits of the user in the team": dict(user_id="member", team_id="search"),
        "aliases": dict(aliases='{"big": "small"}'),
        "permissions": dict(permissions='{"get_spend_routes": true}'),
        "enforced_params": dict(metadata='{"enforced_params": ["user"]}'),
    }
    for number, columns in enumerate(told.values()):
        insert("VerificationToken", token=hash_of(f"sk-limited-{number}-0123456789"), **columns)
    insert("VerificationToken", token=hash_of("sk-narrow-0123456789"), user_id="narrow")
    insert("VerificationToken", token=hash_of("sk-free-0123456789"), user_id="free", metadata='{"guardrails": []}')
    told |= dict.fromkeys(["guardrails", "limits of tags", "limits for single models", "always on"])
    with spawn_gateway(config=DOCUMENT_CONFIG) as gateway:
        for arguments in (["--dry-run"], []):
            done = imported(gateway, url, *arguments)
            assert done.returncode == 64 and "--accept-loss" in done.stdout, done
            lost = [line for line in done.stdout.splitlines() if line.startswith("LIMIT LOST: ")]
            assert all(any(what in line for line in lost) for what in told), lost
            assert any("keys: 2 with limits of the user:" in line for line in lost), lost
            assert not any(hash_of("sk-free-0123456789")[:12] in line for line in lost), lost
            assert gateway.call("GET", "/key/list").json()["total_count"] == 0
        done = imported(gateway, url, "--accept-loss")
        assert done.returncode == 0 and "keys: 7 imported, 0 were there before, 0 skipped" in done.stdout, done
        assert "LIMIT LOST: keys: 2 with limits of the user:" in done.stdout
        info = gateway.call("GET", f"/key/info?key={hash_of('sk-limited-4-0123456789')}").json()["info"]
        assert "enforced_params" not in info["metadata"], "what does not hold does not look as if it did"


def test_limits_for_single_models_in_the_budget_of_a_customer_are_not_lost_in_silence(litellm, spawn_gateway):
    url, insert = litellm
    of_model = '{"m-opus": {"budget_limit": 1, "time_period": "1d"}}'
    insert("BudgetTable", budget_id="cust", model_max_budget=of_model, created_by="admin")
    insert("BudgetTable", budget_id="plain", max_budget=1, model_max_budget="{}", created_by="admin")
    insert("EndUserTable", user_id="bob", budget_id="cust")
    insert("EndUserTable", user_id="eve", budget_id="plain")
    insert("EndUserTable", user_id="zoe")
    insert("VerificationToken", token=hash_of("sk-limited-0123456789"), budget_id="cust")

    def lost(gateway):
        done = imported(gateway, url, "--dry-run")
        return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("LIMIT LOST: ")]

    with spawn_gateway(config=DOCUMENT_CONFIG) as gateway:
        code, lines = lost(gateway)
        assert code == 64 and len(lines) == 1, lines
        assert lines[0].startswith("LIMIT LOST: end users: 1 with limits for single models"), lines
        assert lines[0].endswith("(bob)"), lines
    config = DOCUMENT_CONFIG + "\nlitellm_settings:\n  max_end_user_budget_id: cust\n"
    with spawn_gateway(config=config) as gateway:
        code, lines = lost(gateway)
        assert code == 64 and len(lines) == 2, lines
        assert any("max_end_user_budget_id" in line and line.endswith("(cust)") for line in lines), lines


def test_a_dry_run_says_what_the_import_then_does(litellm, spawn_gateway):
    """In LiteLLM two keys may have the same alias, in bedgate not."""
    url, insert = litellm
    for number in range(3):
        insert("VerificationToken", token=hash_of(f"sk-twin-{number}-0123456789"), key_alias="twin")
    insert("VerificationToken", token=hash_of("sk-taken-0123456789"), key_alias="taken")
    insert("VerificationToken", token=hash_of("sk-there-0123456789"), key_alias="there")
    insert("TeamTable", team_id="search")
    with spawn_gateway(config=DOCUMENT_CONFIG) as gateway:
        gateway.generate_key(key_alias="taken")
        gateway.generate_key(key="sk-there-0123456789", key_alias="there")
        assert gateway.call("POST", "/team/new", {"team_id": "search"}).status == 200

        def told(*arguments):
            done = imported(gateway, url, *arguments)
            assert done.returncode == 70, done
            return done.stdout.replace("would be imported", "imported")

        foreseen = told("--dry-run")
        assert "keys: 1 imported, 1 were there before, 3 skipped" in foreseen, foreseen
        assert 'another key has the alias "twin"' in foreseen and 'another key has the alias "taken"' in foreseen
        assert "teams: 0 imported, 1 were there before, 0 skipped" in foreseen
        assert told() == foreseen


def test_a_key_that_was_revoked_here_does_not_come_back_with_another_import(litellm, spawn_gateway):
    url, insert = litellm
    deleted, regenerated = "sk-deleted-0123456789", "sk-regenerated-0123456789"
    for key in (deleted, regenerated):
        insert("VerificationToken", token=hash_of(key), max_budget=5)
    with spawn_gateway(config=DOCUMENT_CONFIG) as gateway:
        assert "keys: 2 imported" in imported(gateway, url).stdout

        def status(key: str) -> int:
            return curl_json(f"{gateway.base}/model/my-claude-model/converse", key, CONVERSE).status

        eventually(lambda: status(deleted) == status(regenerated) == 200, 5, "the gateway knows the keys")
        assert gateway.call("POST", "/key/delete", {"keys": [deleted]}).status == 200
        new = gateway.call("POST", "/key/regenerate", {"key": regenerated}).json()["key"]
        gateway.secrets.add(new)
        insert("VerificationToken", token=hash_of("sk-new-0123456789"))
        for arguments in (["--dry-run"], []):
            done = imported(gateway, url, *arguments)
            assert done.returncode == 0 and "2 were there before, 0 skipped" in done.stdout, done
            for key in (deleted, regenerated):
                assert f"keys: {hash_of(key)[:12]} was there before and does not come back" in done.stdout, done
        eventually(lambda: status("sk-new-0123456789") == 200, 5, "the gateway knows the new key")
        assert [status(key) for key in (deleted, regenerated, new)] == [403, 403, 200]
        # Who asks for it by name gets it.
        gateway.generate_key(key=deleted)
        assert status(deleted) == 200


def test_an_unusable_source_is_named_as_what_it_is_and_soon(tmp_path):
    (tmp_path / "config.yaml").write_text(DOCUMENT_CONFIG)
    where = ["--config", str(tmp_path / "config.yaml"), "--data-dir", str(tmp_path / "data"), "--dry-run"]
    done = run_to_end(["import-litellm", *where, "--from", "garbage"])
    assert done.returncode == 70 and "--from" in done.stderr and "DATABASE_URL:" not in done.stderr, done
    assert done.stderr.count("must begin with") == 1, done.stderr
    nobody = f"postgresql://someone:hush@127.0.0.1:{free_port()}/litellm"
    done = run_to_end(["import-litellm", *where, "--from", nobody], within=20)
    assert done.returncode == 70 and "LiteLLM's database, which --from names" in done.stderr, done
    assert "cannot be reached" in done.stderr and "hush" not in done.stderr + done.stdout
