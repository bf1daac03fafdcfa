#!/usr/bin/env python3
"""Writes src/operations.tsv, every Bedrock operation, and src/domain/regions.tsv, every region of AWS, read from the
data that botocore ships.

    python3 integration/generate_operations.py            write the tables
    python3 integration/generate_operations.py --check    exit 1 if a checked-in table is not what would be written

botocore is installed into a temporary virtual environment. What the models do not say (what a key may do by
default, which strings name a model, the OpenAI and Anthropic paths) stands in the tables below; a new operation or
member that no table covers is an error, so that a new botocore release asks for a decision.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import venv

BOTOCORE_VERSION = "1.44.5"
# The day the version above was looked at.
READ_ON = "2026-11-22"
SOURCES = pathlib.Path(__file__).resolve().parent.parent / "src"
COLUMNS = (
    "service operation method uri access request_stream response_stream target headers encoded_slashes path_model body_models"
).split()

SERVICES = (
    "bedrock",
    "bedrock-runtime",
    "bedrock-agent",
    "bedrock-agent-runtime",
    "bedrock-agentcore",
    "bedrock-agentcore-control",
    "bedrock-data-automation",
    "bedrock-data-automation-runtime",
)

# --- What a key may do by default -----------------------------------------------------------------------------
#
# inference  runs a model, an agent, a flow, a guardrail, a tool, or leads a session of one
# retrieval  searches what is stored
# read       looks at resources: Get*, List*
# write      everything else: creates, changes, deletes, tags or buys something, starts a job that costs outside
#            of a call, runs code or drives a browser under an execution role, overwrites or destroys what others
#            stored, adds to what agents remember, moves money, or hands out credentials

READING_PREFIXES = ("Get", "List")

INFERENCE = {
    "bedrock-runtime": "*",
    "bedrock-agent-runtime": """
        InvokeAgent InvokeFlow InvokeInlineAgent StartFlowExecution StopFlowExecution OptimizePrompt GenerateQuery
        CreateSession GetSession ListSessions UpdateSession EndSession
        CreateInvocation ListInvocations PutInvocationStep GetInvocationStep ListInvocationSteps
    """,
    "bedrock-agentcore": """
        InvokeAgentRuntime InvokeHarness GetAgentCard StopRuntimeSession Evaluate
        GetEvent ListEvents ListActors ListSessions
    """,
    "bedrock-data-automation-runtime": "InvokeDataAutomation InvokeDataAutomationAsync GetDataAutomationStatus",
}

RETRIEVAL = {
    "bedrock-agent-runtime": """
        Retrieve RetrieveAndGenerate RetrieveAndGenerateStream AgenticRetrieveStream Rerank GetDocumentContent
    """,
    "bedrock-agentcore": """
        RetrieveMemoryRecords GetMemoryRecord ListMemoryRecords SearchRegistryRecords InvokeWebSearch
    """,
}

# Reading under another name: answers from what is stored and changes nothing.
ALSO_READ = {
    "bedrock": "ExportAutomatedReasoningPolicyVersion",
    "bedrock-agent": "ValidateFlowDefinition",
    "bedrock-agent-runtime": "CheckIngestedDocumentAcl",
}

# Named like reading, but the answer is a credential.
NOT_READ = {
    "bedrock-agentcore": """
        GetResourceApiKey GetResourceOauth2Token GetResourcePaymentToken
        GetWorkloadAccessToken GetWorkloadAccessTokenForJWT GetWorkloadAccessTokenForUserId
    """,
}

# What a rest of verbs means; a verb that is in no list stops the script.
WRITING_PREFIXES = """
    Add Associate Batch Cancel Complete Copy Create Delete Deregister Disassociate Export Ingest Invoke Prepare Process Put
    Register Reset Rotate Save Set Start Stop Submit Synchronize Tag Untag Update
""".split()

# --- Which strings of a request body name a model -------------------------------------------------------------

MODEL_MEMBERS = """
    modelId modelArn modelIdentifier foundationModel embeddingModelArn baseModelIdentifier teacherModelIdentifier
    targetModelId sourceModelArn desiredModelId
""".split()
MODEL_SHAPES = "InferenceProfileModelSourceArn ProvisionedModelIdentifier ConcreteModelId".split()

# Members that speak of models without naming one that would run.
NOT_A_MODEL = re.compile(
    r"(KmsKey|Name$|Description$|Type$|Token$|Params$|FieldPaths|JobArn$|JobIdentifier$|ModelPattern$|ModelPackageArn$|"
    r"CustomModelDeploymentIdentifier$|ModelSourceIdentifier$|IncludedModelId$|ExcludedModelId$)"
)
NOT_A_MODEL_MEMBER = re.compile(r"(KmsKey(Arn|Id)|Name|FieldPaths)$", re.I)

# A shape that holds itself (a loop node in a flow) is followed this often.
RECURSION = 2

# --- Paths of other API families on the bedrock-runtime host --------------------------------------------------
#
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-openai.html: the model is a member of the body,
# and the answer is server-sent events when the body asks for a stream.

EXTRAS = [
    # operation, method, uri, access, body_models
    ("OpenAiChatCompletions", "POST", "/openai/v1/chat/completions", "inference", "model"),
    ("OpenAiResponses", "POST", "/openai/v1/responses", "inference", "model"),
    ("OpenAiGetResponse", "GET", "/openai/v1/responses/{responseId}", "inference", ""),
    ("OpenAiDeleteResponse", "DELETE", "/openai/v1/responses/{responseId}", "inference", ""),
    ("OpenAiCancelResponse", "POST", "/openai/v1/responses/{responseId}/cancel", "inference", ""),
    ("OpenAiListResponseInputItems", "GET", "/openai/v1/responses/{responseId}/input_items", "inference", ""),
    ("OpenAiListModels", "GET", "/openai/v1/models", "read", ""),
    ("OpenAiGetModel", "GET", "/openai/v1/models/{modelId}", "read", ""),
    ("AnthropicMessages", "POST", "/anthropic/v1/messages", "inference", "model"),
    ("AnthropicCountTokens", "POST", "/anthropic/v1/messages/count_tokens", "inference", "model"),
]


def main():
    tables = {"operations.tsv": table, "domain/regions.tsv": regions}
    if "--inside" in sys.argv:
        sys.stdout.write(tables[sys.argv[-1]]())
        return 0
    with tempfile.TemporaryDirectory(prefix="bedgate-operations-") as folder:
        venv.create(folder, with_pip=True)
        python = os.path.join(folder, "bin", "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"botocore=={BOTOCORE_VERSION}"], check=True)
        inside = [python, __file__, "--inside"]
        written = {
            name: subprocess.run([*inside, name], check=True, stdout=subprocess.PIPE).stdout for name in tables
        }
    if "--check" not in sys.argv:
        for name, text in written.items():
            (SOURCES / name).write_bytes(text)
        return 0
    stale = [name for name, text in written.items() if (SOURCES / name).read_bytes() != text]
    print(f"run this script: src/{' and src/'.join(stale)} differ" if stale else "the tables are up to date")
    return 1 if stale else 0


def regions():
    """The regions of each partition; a first line says from when."""
    import botocore.session

    partitions = botocore.session.get_session().get_component("data_loader").load_data("partitions")["partitions"]
    lines = [f"# the regions of AWS in botocore {BOTOCORE_VERSION}, read on {READ_ON}"]
    for partition in partitions:
        is_region = re.compile(partition["regionRegex"]).match
        lines += [f"{partition['id']}\t{region}" for region in sorted(partition["regions"]) if is_region(region)]
    return "\n".join(lines) + "\n"


def table():
    import botocore.session

    session = botocore.session.get_session()
    lines = ["\t".join(COLUMNS)]
    for service in SERVICES:
        model = session.get_service_model(service)
        lines += [row(service, model, model.operation_model(name)) for name in model.operation_names]
    for operation, method, uri, access, models in EXTRAS:
        stream = "body"
        fields = ("bedrock-runtime", operation, method, uri, access, stream, stream, "", "", "", "", models)
        lines.append("\t".join(field or "-" for field in fields))
    return "\n".join(lines) + "\n"


def row(service, model, operation):
    uri = operation.http["requestUri"]
    assert not set("?#+ \t") & set(uri), f"{operation.name}: {uri} needs a rule"
    members = operation.input_shape.members if operation.input_shape else {}
    location = lambda place: {
        shape.serialization["name"]: shape
        for shape in members.values()
        if shape.serialization.get("location") == place
    }
    assert not location("headers"), f"{operation.name} has a header family: needs a rule"
    labels = location("uri")
    models = sorted(set(body_models(operation)))
    is_json_rpc = model.metadata["protocol"] == "json"
    fields = (
        service,
        operation.name,
        operation.http["method"],
        uri,
        access(service, operation.name),
        stream(operation.get_event_stream_input(), operation.has_streaming_input),
        stream(operation.get_event_stream_output(), operation.has_streaming_output),
        f"{model.metadata['targetPrefix']}.{operation.name}" if is_json_rpc else "",
        " ".join(sorted(name.lower() for name in location("header"))),
        " ".join(sorted(name for name, shape in labels.items() if may_hold_slash(model, shape))),
        "modelId" if service == "bedrock-runtime" and "modelId" in labels else "",
        " ".join(models),
    )
    return "\t".join(field or "-" for field in fields)


def stream(event_stream, streaming):
    """events: AWS event stream frames; bytes: a body of any kind, sent as it comes; body: one document."""
    return "events" if event_stream else "bytes" if streaming else "body"


def access(service, name):
    def listed(table):
        names = table.get(service, "")
        return names == "*" or name in names.split()

    if listed(INFERENCE):
        return "inference"
    if listed(RETRIEVAL):
        return "retrieval"
    if listed(ALSO_READ):
        return "read"
    if listed(NOT_READ):
        return "write"
    if name.startswith(READING_PREFIXES):
        return "read"
    assert name.startswith(tuple(WRITING_PREFIXES)), f"{service} {name}: decide what it is"
    return "write"


def may_hold_slash(model, shape):
    """Whether a path label can be an ARN or another text with a slash, which clients send as %2F."""
    definition = model._shape_resolver._shape_map[shape.name]
    if definition.get("enum"):
        return False
    pattern = definition.get("pattern")
    return pattern is None or "/" in pattern or ".*" in pattern or ".+" in pattern


def body_models(operation):
    """Paths of the members that name a model, as `list.[].member`."""
    found = []

    def walk(shape, path, holders):
        if holders.count(shape.name) >= RECURSION:
            return
        holders = [*holders, shape.name]
        if shape.type_name == "structure":
            for member, inner in shape.members.items():
                if not inner.serialization.get("location"):
                    walk(inner, [*path, inner.serialization.get("name", member)], holders)
        elif shape.type_name == "list":
            walk(shape.member, [*path, "[]"], holders)
        elif shape.type_name == "map":
            walk(shape.value, [*path, "{}"], holders)
        elif shape.type_name == "string" and names_a_model(path, shape.name):
            assert "{}" not in path, f"{operation.name}: {path} is in a map: needs a rule"
            found.append(".".join(path))

    def names_a_model(path, shape):
        member = next(step for step in reversed(path) if step not in ("[]", "{}"))
        if member in MODEL_MEMBERS or shape in MODEL_SHAPES:
            return True
        speaks_of_models = "model" in f"{member} {shape}".lower()
        excluded = NOT_A_MODEL.search(shape) or NOT_A_MODEL_MEMBER.search(member)
        assert excluded or not speaks_of_models, f"{operation.name}: {path} ({shape}): decide whether it names a model"
        return False

    if operation.input_shape:
        walk(operation.input_shape, [], [])
    return found


if __name__ == "__main__":
    sys.exit(main())
