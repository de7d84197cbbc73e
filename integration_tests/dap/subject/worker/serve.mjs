// node serve.mjs: an aggregator that is Daphne's Worker, run by workerd with its storage in memory.
//
// The Worker has the test API in part. What it lacks is made up for here, by what its operators would do: tokens are
// written to its key-value store, and its work is driven by /internal/process. All else is passed on as it is.
import { createWriteStream, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Log, LogLevel, Miniflare } from "miniflare";

const HERE = dirname(fileURLToPath(import.meta.url));
const API = "/internal/test/";
const PREFIX = "/v02/";
const DAY = 86400;
const JOBS = 10000; // of aggregation at once: with issue 73's workaround none is ever taken off the queue
const REPORTS = 40; // of one job; Daphne cannot encode an aggregation of many more, and joins those of two shards
const RETRY = 250; // milliseconds after which work that failed is tried again
const MEMORY = 100 * 365 * DAY;

const { LISTEN = "0.0.0.0:8080", LOG_FILE, ROLE } = process.env;
if (ROLE !== "leader" && ROLE !== "helper") {
  console.error("ROLE is leader or helper: a Worker is one of them, whatever its tasks");
  process.exit(2);
}
const sink = LOG_FILE ? createWriteStream(LOG_FILE, { flags: "a" }) : process.stderr;
const log = (line) => sink.write(`${new Date().toISOString()} ${line}\n`);

class FileLog extends Log {
  log(message) {
    log(message);
  }
}

const snippets = readdirSync(join(HERE, "snippets"), { recursive: true }).filter((path) => path.endsWith(".js"));
const miniflare = new Miniflare({
  host: "127.0.0.1",
  log: new FileLog(LogLevel.INFO, { suffix: "worker" }),
  handleRuntimeStdio: (...streams) => streams.forEach((from) => from.on("data", (data) => log(`${data}`.trimEnd()))),
  modules: [
    ...["shim.mjs", "index_bg.js", ...snippets.map((path) => join("snippets", path))].map((path) => ({
      type: "ESModule",
      path,
    })),
    { type: "CompiledWasm", path: "index_bg.wasm" },
  ],
  rootPath: HERE,
  modulesRoot: HERE,
  cf: false,
  compatibilityDate: "2023-03-01",
  kvNamespaces: ["DAP_CONFIG"],
  durableObjects: {
    DAP_AGGREGATE_STORE: "AggregateStore",
    DAP_GARBAGE_COLLECTOR: "GarbageCollector",
    DAP_HELPER_STATE_STORE: "HelperStateStore",
    DAP_LEADER_AGG_JOB_QUEUE: "LeaderAggregationJobQueue",
    DAP_LEADER_BATCH_QUEUE: "LeaderBatchQueue",
    DAP_LEADER_COL_JOB_QUEUE: "LeaderCollectionJobQueue",
    DAP_REPORTS_PENDING: "ReportsPending",
    DAP_REPORTS_PROCESSED: "ReportsProcessed",
  },
  bindings: {
    DAP_AGGREGATOR_ROLE: ROLE,
    DAP_BASE_URL: `http://127.0.0.1${PREFIX}`, // its path is what endpoint_for_task tells
    DAP_COLLECT_ID_KEY: randomBytes(16).toString("hex"),
    DAP_DEPLOYMENT: "prod",
    DAP_GLOBAL_CONFIG: JSON.stringify({
      report_storage_epoch_duration: 7 * DAY,
      max_batch_duration: 4 * DAY,
      min_batch_interval_start: 3 * DAY,
      max_batch_interval_end: 3 * DAY,
      supported_hpke_kems: ["x25519_hkdf_sha256"],
    }),
    DAP_HELPER_STATE_STORE_GARBAGE_COLLECT_AFTER_SECS: "600",
    DAP_ISSUE73_DISABLE_AGG_JOB_QUEUE_GARBAGE_COLLECTION: "false",
    DAP_REPORT_SHARD_COUNT: "2",
    DAP_REPORT_SHARD_KEY: randomBytes(16).toString("hex"),
  },
});

// -- the Worker ------------------------------------------------------------------------------------------------------

const OF_A_CONNECTION = ["connection", "content-encoding", "content-length", "host", "keep-alive", "transfer-encoding"];
const kept = (headers) => Object.fromEntries(headers.filter(([name]) => !OF_A_CONNECTION.includes(name)));

async function ask(path, method, headers, body) {
  const answer = await miniflare.dispatchFetch(`http://worker${path}`, { method, headers, body, redirect: "manual" });
  return { status: answer.status, headers: kept([...answer.headers]), body: Buffer.from(await answer.arrayBuffer()) };
}

const tell = (path, values) => ask(path, "POST", JSON_TYPE, JSON.stringify(values));

let rung = false;
let working = null;

/** Have the leader aggregate and collect until nothing is left that can be. */
function work() {
  if (ROLE !== "leader") return null;
  rung = true;
  working ??= workUntilDone().finally(() => {
    working = null;
    if (rung) work();
  });
  return working;
}

async function workUntilDone() {
  try {
    while (rung) {
      rung = false;
      const done = await tell("/internal/process", { max_agg_jobs: JOBS, max_reports: REPORTS });
      if (done.status !== 200) throw new Error(`${done.status} ${done.body}`);
      const told = JSON.parse(done.body);
      rung ||= told.reports_processed > 0 || told.reports_collected > 0;
    }
  } catch (error) {
    log(`its work is tried again: ${error.message}`);
    setTimeout(work, RETRY).unref();
  }
}

// -- the test API ----------------------------------------------------------------------------------------------------

const JSON_TYPE = { "content-type": "application/json" };
const json = (status, values) => ({ status, headers: JSON_TYPE, body: Buffer.from(JSON.stringify(values)) });
const failed = (status, error) => json(status, { status: "error", error });
const isId = (text) => typeof text === "string" && /^[A-Za-z0-9_-]{43}$/.test(text);
const hex = (id) => Buffer.from(id, "base64url").toString("hex");
const known = new Set();

/** What the Worker itself answers, where a refusal of its is an error of HTTP without words. */
async function passed(command, values) {
  const answer = await tell(`${API}${command}`, values);
  return answer.status === 200 ? answer : failed(200, `${answer.body}` || `status ${answer.status}`);
}

const COMMANDS = {
  async ready() {
    const answer = await tell(`${API}ready`, {});
    return answer.status === 200 ? json(200, {}) : answer;
  },
  endpoint_for_task: (values) => passed("endpoint_for_task", values),
  async add_task(told) {
    const vdaf = { ...told.vdaf, type: told.vdaf?.type?.replace(/^Prio3(?=Count|Sum)/, "Prio3Aes128") }; // of later drafts
    const values = { ...told, vdaf, verify_key: told.verify_key ?? told.vdaf_verify_key };
    values.leader_authentication_token ??= randomBytes(16).toString("hex"); // until it is told apart
    if (told.role === "leader") values.collector_authentication_token ??= randomBytes(16).toString("hex");
    values.task_expiration ??= Math.floor(Date.now() / 1000) + MEMORY; // it knows no task without an end
    const answer = await passed("add_task", values);
    if (JSON.parse(answer.body).status === "success") known.add(told.task_id);
    return answer;
  },
  async add_authentication_token({ task_id: id, role, token }) {
    if (!known.has(id)) return failed(200, "unknown task");
    if (role !== "leader" && (role !== "collector" || ROLE !== "leader")) {
      return failed(200, `a ${ROLE} has no token of a ${role}`);
    }
    const store = await miniflare.getKVNamespace("DAP_CONFIG");
    await store.put(`bearer_token/${role}/task/${hex(id)}`, JSON.stringify({ raw: token }));
    return json(200, { status: "success" });
  },
  async fetch_batch_ids({ task_id: id }) {
    if (!known.has(id)) return failed(200, "unknown task");
    await work(); // batches are filled by it, not by uploads
    const answer = await ask(`/internal/current_batch/task/${id}`, "GET");
    return json(200, { status: "success", batch_ids: answer.status === 200 ? [`${answer.body}`] : [] });
  },
};

async function command(name, method, body) {
  if (!Object.hasOwn(COMMANDS, name)) return json(404, {});
  if (method !== "POST") return json(405, {});
  let values;
  try {
    values = JSON.parse(body);
  } catch (error) {
    return failed(400, `the command cannot be read: ${error.message}`);
  }
  if (name !== "ready" && !isId(values?.task_id)) return failed(400, "the command cannot be read: task_id is no ID");
  return COMMANDS[name](values);
}

// -- serving ---------------------------------------------------------------------------------------------------------

async function answer(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  const { pathname } = new URL(request.url, "http://here");
  if (pathname.startsWith(API)) return command(pathname.slice(API.length), request.method, body);
  const sent = ["GET", "HEAD"].includes(request.method) ? undefined : body;
  const said = await ask(request.url, request.method, kept(Object.entries(request.headers)), sent);
  if (request.method === "POST" && said.status < 400) work();
  if (said.status >= 400) log(`${request.method} ${request.url}: ${said.status} ${said.body}`);
  return said;
}

const server = createServer((request, response) => {
  answer(request)
    .catch((error) => failed(500, error.message))
    .then(({ status, headers, body }) => {
      response.writeHead(status, { ...headers, "content-length": body.length }).end(body);
    });
});

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.removeAllListeners(signal); // those of miniflare end with another code than 0
  process.once(signal, async () => {
    server.close();
    server.closeAllConnections();
    await miniflare.dispose();
    process.exit(0);
  });
}
await miniflare.ready;
const [, address, port] = /^(.*):(\d+)$/.exec(LISTEN);
server.listen(Number(port), address, () => log(`dap-worker: a ${ROLE} at ${LISTEN}`));
