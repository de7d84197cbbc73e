// dap-divviup: the client of @divviup/dap 0.9.1 (draft 09), by the interoperation test API.

import { appendFileSync } from "node:fs";
import { createServer } from "node:http";
import { Task } from "@divviup/dap";

const API = "/internal/test/";
const LARGEST = 1 << 20;
const SILENCE = 3000; // milliseconds that an aggregator is waited for; the package itself knows no limit
const DIGITS = /^[0-9]+$/;
const TASK_ID = /^[A-Za-z0-9_-]{43}=?$/;
const MUTANT = (process.env.DAP_MUTANT ?? "").split(".").at(-1);

const fetchWithoutLimit = globalThis.fetch;
globalThis.fetch = (input, init) => fetchWithoutLimit(input, { ...init, signal: AbortSignal.timeout(SILENCE) });

function log(text) {
  const line = `${(Date.now() / 1000).toFixed(3)} ${text}\n`;
  if (process.env.LOG_FILE) appendFileSync(process.env.LOG_FILE, line);
  else process.stderr.write(line);
}

function digits(name, value) {
  if (typeof value !== "string" || !DIGITS.test(value)) {
    throw new Error(`${name} ${JSON.stringify(value)} is no number in base 10, as a string`);
  }
  return BigInt(value);
}

// What the package calls a VDAF, and a measurement of it.
function measured(vdaf, measurement) {
  const value = digits("measurement", measurement);
  switch (vdaf?.type) {
    case "Prio3Count":
      if (value > 1n) throw new Error(`measurement ${value} is more than 1`);
      return [{ type: "count" }, value === 1n];
    case "Prio3Sum":
      return [{ type: "sum", bits: Number(digits("bits", vdaf.bits)) }, value];
    case "Prio3Histogram": {
      const length = Number(digits("length", vdaf.length));
      const chunkLength = Number(digits("chunk_length", vdaf.chunk_length));
      return [{ type: "histogram", length, chunkLength }, Number(value)];
    }
    default:
      throw new Error(`VDAF ${vdaf?.type} is not supported`);
  }
}

async function upload(told) {
  const [vdaf, measurement] = measured(told.vdaf, told.measurement);
  const timePrecisionSeconds = MUTANT === "keeps_the_time" ? 1 : told.time_precision;
  if (!Number.isInteger(timePrecisionSeconds) || timePrecisionSeconds < 1) {
    throw new Error("time_precision is at least 1");
  }
  const task = new Task({ ...vdaf, id: told.task_id, leader: told.leader, helper: told.helper, timePrecisionSeconds });
  const options = told.time === undefined ? {} : { timestamp: new Date(told.time * 1000) };
  if (MUTANT === "uploads_twice") await task.sendMeasurement(measurement, options);
  await task.sendMeasurement(measurement, options);
}

// An error in words: a problem of DAP by its type, another one with its causes.
function said(error) {
  if (error.type) return `HTTP ${error.status}: ${error.type}`;
  return error.cause ? `${error.message}: ${said(error.cause)}` : String(error.message || error.code || error);
}

async function answer(name, body) {
  if (name === "ready") return [200, {}];
  if (name !== "upload") return [404, { status: "error", error: `there is no command ${name}` }];
  let told;
  try {
    told = JSON.parse(body);
    if (!TASK_ID.test(told.task_id)) throw new Error("task_id is no base64url of 32 bytes");
    for (const key of ["leader", "helper"]) new URL(told[key]);
  } catch (error) {
    return [400, { status: "error", error: `the command cannot be read: ${error.message}` }];
  }
  try {
    await upload(told);
  } catch (error) {
    if (MUTANT !== "hides_refusals") return [200, { status: "error", error: said(error) }];
  }
  return [200, { status: "success" }];
}

function reply(response, status, values, headers = {}) {
  const body = JSON.stringify(values);
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(body);
  return body;
}

async function serve(request, response) {
  const name = request.url.startsWith(API) ? request.url.slice(API.length) : "";
  if (!name) return reply(response, 404, { status: "error", error: "commands are below " + API });
  if (request.method !== "POST") {
    return reply(response, 405, { status: "error", error: "commands are POST" }, { Allow: "POST" });
  }
  const parts = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > LARGEST) return reply(response, 413, { status: "error", error: "the body is too long" });
    parts.push(part);
  }
  const [status, values] = await answer(name, Buffer.concat(parts).toString());
  log(`${name}: ${status} ${reply(response, status, values)}`);
}

const [host, port] = (process.env.LISTEN ?? "0.0.0.0:8080").split(":");
const server = createServer((request, response) => {
  serve(request, response).catch((error) => log(`${request.method} ${request.url}: ${said(error)}`));
});
server.listen(Number(port), host, () => log(`dap-divviup serves at http://${host}:${port}`));
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    log("told to stop");
    process.exit(0);
  });
}
