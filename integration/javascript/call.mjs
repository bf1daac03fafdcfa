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

async function readAll(answer) {
  const { $metadata, ...rest } = answer;
  const read = { status: $metadata.httpStatusCode, requestId: $metadata.requestId, output: {}, events: [] };
  for (const [name, value] of Object.entries(rest)) {
    if (streams.includes(name) && value?.[Symbol.asyncIterator] && !(value instanceof Uint8Array)) {
      for await (const event of value) read.events.push({ at: performance.now(), event });
    } else {
      read.output[name] = value instanceof Uint8Array ? Buffer.from(value).toString() : value;
    }
  }
  return read;
}

async function call(client, all, { operation, input }) {
  try {
    return await readAll(await client.send(new all[`${operation}Command`](input)));
  } catch (error) {
    const isModelled = typeof all[error.name] === "function" && error instanceof all[error.name];
    return { error: { name: error.name, message: error.message, status: error.$metadata?.httpStatusCode, isModelled } };
  }
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
