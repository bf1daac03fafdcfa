// One call of the AWS SDK for JavaScript v3, as a program uses it; the job comes as JSON on standard input, what happened
// goes out as JSON. Credentials come from the environment, as the SDK finds them.
import * as agent from "@aws-sdk/client-bedrock-agent-runtime";
import * as runtime from "@aws-sdk/client-bedrock-runtime";
import { NodeHttpHandler } from "@smithy/node-http-handler";

const services = {
  "bedrock-runtime": { client: runtime.BedrockRuntimeClient, all: runtime },
  "bedrock-agent-runtime": { client: agent.BedrockAgentRuntimeClient, all: agent },
};
const streams = ["stream", "body", "completion"];

async function readAll(answer, events = [], noted = () => {}) {
  const { $metadata, ...rest } = answer;
  const read = { status: $metadata.httpStatusCode, requestId: $metadata.requestId, output: {}, events };
  for (const [name, value] of Object.entries(rest)) {
    if (streams.includes(name) && value?.[Symbol.asyncIterator] && !(value instanceof Uint8Array)) {
      for await (const event of value) {
        read.events.push({ at: performance.now(), event });
        noted(event);
      }
    } else {
      read.output[name] = value instanceof Uint8Array ? Buffer.from(value).toString() : value;
    }
  }
  return read;
}

function described(all, error) {
  const isModelled = typeof all[error.name] === "function" && error instanceof all[error.name];
  return { name: error.name, message: error.message, status: error.$metadata?.httpStatusCode, isModelled };
}

async function call(client, all, { operation, input, told, inTurn }) {
  const events = [];
  try {
    if (told !== undefined) return await converse(client, all[`${operation}Command`], input, told, inTurn, events);
    return await readAll(await client.send(new all[`${operation}Command`](input)), events);
  } catch (error) {
    return { error: described(all, error), events };
  }
}

// Events both ways: each of `told` is sent at once, or, in turn, only after the one before was answered.
async function converse(client, Command, input, told, inTurn, events) {
  let answered = 0;
  let wake = () => {};
  const answers = async (count) => {
    while (answered < count) await new Promise((resolve) => (wake = resolve));
  };
  async function* body() {
    for (const [index, text] of told.entries()) {
      if (inTurn) await answers(index);
      yield { chunk: { bytes: Buffer.from(text) } };
    }
    if (inTurn) await answers(told.length);
  }
  const answer = await client.send(new Command({ ...input, body: body() }));
  return await readAll(answer, events, ({ chunk }) => {
    const said = chunk && JSON.parse(Buffer.from(chunk.bytes).toString()).event;
    if (said?.textOutput || said?.audioOutput) {
      answered += 1;
      wake();
    }
  });
}

const text = (name, value) => (value instanceof Uint8Array ? Buffer.from(value).toString() : value);
let given = "";
for await (const chunk of process.stdin) given += chunk;
const job = JSON.parse(given);
const { client: Client, all } = services[job.service];
const client = new Client({
  region: "eu-central-1",
  endpoint: job.endpoint,
  maxAttempts: 1,
  ...(job.http1 ? { requestHandler: new NodeHttpHandler() } : {}),
});
const results = job.together
  ? await Promise.all(job.calls.map((one) => call(client, all, one)))
  : await job.calls.reduce(async (done, one) => [...(await done), await call(client, all, one)], Promise.resolve([]));
client.destroy();
console.log(JSON.stringify(results, text));
