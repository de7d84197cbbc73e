"use strict";
// A report of a matrix, shown. All text of a report goes through esc() or textContent: it is what strangers' programs said.

const SCHEMA_VERSION = 1;
const SYMBOLS = {
  succeeded: "✓", failed: "✗", unsupported: "∅", timeout: "◷", crashed: "↯",
  broken: "⚠", skipped: "–", flaky: "≈", "not run": "·",
};
const CONTROL = new Set(["ready", "done", "exec", "status", "exited", "assert", "assert-failed", "check"]);
const LIST_STEP = 300;
const MANY = 400; // from here on each test has the whole width, and is laid out when it is scrolled to
const $ = (id) => document.getElementById(id);
const esc = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const report = JSON.parse($("report").textContent);
const byId = new Map(report.cells.map((cell, i) => [cell.id, i]));

// -- what a cell is ---------------------------------------------------------------------------------------------------

const statusOf = (cell) => (cell.verdict ? cell.verdict.status : "not run");
const wordOf = (cell) => (cell.is_unexpected_pass ? "unexpected pass" : statusOf(cell));
const variantOf = (cell) => Object.entries(cell.params).map(([name, value]) => `${name}=${value}`).join(",");
const symbol = (status) => `<span class="sym" aria-hidden="true">${SYMBOLS[status] ?? "?"}</span>`;
const seconds = (n) => (n >= 100 ? `${Math.round(n)} s` : n >= 10 ? `${n.toFixed(1)} s` : `${n.toFixed(2)} s`);

function badge(cell) {
  const loud = cell.is_expected ? "" : " loud";
  return `<span class="badge${loud}" data-s="${esc(statusOf(cell))}">${symbol(statusOf(cell))}${esc(wordOf(cell))}</span>`;
}

function blameOf(verdict) {
  if (!verdict || !verdict.blame) return "";
  const of = verdict.implementation ? ` ${verdict.implementation}` : "";
  if (verdict.blame === "role") return `${verdict.role}:${of}`;
  return `${verdict.blame}${of}`;
}

const reasonOf = (cell) => {
  if (cell.is_unexpected_pass) return `${cell.expectation.statuses.join(" or ")} was expected: ${cell.expectation.reason}`;
  return cell.verdict ? cell.verdict.reason : "it was not run";
};

const haystacks = report.cells.map((cell) =>
  [cell.id, wordOf(cell), reasonOf(cell), blameOf(cell.verdict), cell.expectation.reason].join("\n").toLowerCase());

// -- what is shown: all of it stands in the address, so that it can be sent to somebody ----------------------------------

const state = { test: "", worker: "", driver: "", show: "", change: "", text: "", status: new Set(), view: "matrix", cell: "" };
const KEYS = ["test", "worker", "driver", "show", "change", "text", "cell"];
let other = null; // {name, cells: Map}
let shown = []; // places of the cells that the filters let through
let listed = LIST_STEP;
let order = { key: "", down: false };

function readAddress() {
  const params = new URLSearchParams(location.hash.slice(1));
  for (const key of KEYS) state[key] = params.get(key) ?? "";
  state.status = new Set((params.get("status") ?? "").split(",").filter(Boolean));
  state.view = params.get("view") === "list" ? "list" : "matrix";
}

function writeAddress() {
  const params = new URLSearchParams();
  for (const key of KEYS) if (state[key]) params.set(key, state[key]);
  if (state.status.size) params.set("status", [...state.status].join(","));
  if (state.view === "list") params.set("view", "list");
  const hash = params.toString().replaceAll("%2F", "/").replaceAll("%2C", ",");
  if (`#${hash}` !== location.hash && (hash || location.hash)) history.replaceState(null, "", hash ? `#${hash}` : "#");
}

function changeOf(cell) {
  if (!other) return "";
  const was = other.cells.get(cell.id);
  if (!was) return "new";
  if (wordOf(was) === wordOf(cell) && was.is_expected === cell.is_expected) return "";
  if (was.is_expected !== cell.is_expected) return cell.is_expected ? "better" : "worse";
  return "changed";
}

function passes(cell, i) {
  if (state.test && cell.test !== state.test) return false;
  if (state.worker && cell.worker !== state.worker) return false;
  if (state.driver && cell.driver !== state.driver) return false;
  if (state.status.size && !state.status.has(statusOf(cell))) return false;
  if (state.show === "unexpected" && cell.is_expected) return false;
  if (state.show === "expected" && !cell.is_expected) return false;
  if (state.show === "declared" && !cell.expectation.is_declared) return false;
  if (state.change) {
    const change = changeOf(cell);
    if (!change || (state.change !== "changed" && change !== state.change)) return false;
  }
  return !state.text || haystacks[i].includes(state.text.toLowerCase());
}

// -- head -----------------------------------------------------------------------------------------------------------------

function drawHead() {
  const began = report.began ? new Date(report.began * 1000).toLocaleString() : "";
  const engine = [report.engine, report.engine_version].filter(Boolean).join(" ");
  const bounds = report.bounds;
  const ratio = bounds.ratio ? `${bounds.ratio.toFixed(2)} × bound (${bounds.binding})` : "";
  const facts = [`run ${report.run}`, engine, began, seconds(report.seconds), ratio].filter(Boolean);
  $("facts").innerHTML = facts.map((fact) => `<span>${esc(fact)}</span>`).join("");
  const total = report.cells.length;
  const missing = report.cells.filter((cell) => !cell.verdict).length;
  const bad = report.unexpected;
  const part = missing ? `, ${missing} not run` : "";
  const cells = total === 1 ? "1 cell" : `${total.toLocaleString("en")} cells`;
  $("headline").innerHTML = bad
    ? `<span data-s="failed">${symbol("failed")}</span>${bad.toLocaleString("en")} of ${cells} not as expected${part}`
    : `<span data-s="${missing ? "" : "succeeded"}">${symbol(missing ? "not run" : "succeeded")}</span>${cells}, ${missing ? "none unexpected" : "all as expected"}${part}`;
  $("totals").innerHTML = Object.entries(report.totals)
    .map(([status, n]) => `<button type="button" data-s="${esc(status)}" data-status="${esc(status)}" aria-pressed="false">${symbol(status)}<b>${n.toLocaleString("en")}</b> ${esc(status)}</button>`)
    .join("");
}

function drawAttention() {
  const bad = report.cells.filter((cell) => !cell.is_expected);
  const rank = { broken: 0, crashed: 1, timeout: 2, failed: 3 };
  const worst = bad.toSorted((a, b) => (rank[statusOf(a)] ?? 9) - (rank[statusOf(b)] ?? 9)).slice(0, 8);
  const lines = report.findings.map((finding) => `<li class="finding"><span class="kind">finding</span><span>${esc(finding.text)}</span></li>`);
  for (const cell of worst)
    lines.push(`<li>${badge(cell)}<button type="button" class="link" data-open="${byId.get(cell.id)}">${esc(cell.id)}</button><span>${esc(reasonOf(cell))}</span></li>`);
  const notes = report.notes.map((note) => `<li class="finding"><span class="kind">note</span><span>${esc(note)}</span></li>`);
  $("attention").hidden = !lines.length && !notes.length;
  const more = bad.length > worst.length ? `<button type="button" class="more" data-all="unexpected">Show all ${bad.length.toLocaleString("en")} in the matrix</button>` : "";
  $("attention").innerHTML = `<div class="card"><h2>${lines.length ? "What needs attention" : "Notes"}</h2><ul class="rows">${lines.concat(notes).join("")}</ul>${more}</div>`;
}

function drawAbout() {
  const table = (head, rows) => `<div class="wrap"><table><thead><tr>${head.map((h) => `<th scope="col">${h}</th>`).join("")}</tr></thead><tbody>${rows.map((row) => `<tr>${row.map((v) => `<td>${v}</td>`).join("")}</tr>`).join("")}</tbody></table></div>`;
  const mono = (text) => `<span class="mono">${esc(text)}</span>`;
  const bounds = Object.entries(report.bounds.bounds).map(([name, n]) => [esc(name) + (name === report.bounds.binding ? " (binding)" : ""), seconds(n)]);
  if (bounds.length) bounds.push(["achieved", seconds(report.bounds.seconds)]);
  const made = report.implementations.map((one) => [esc(one.name), esc(one.version), esc(one.source), mono(one.image || one.commit), esc(one.problem)]);
  const files = ["report.json", "junit.xml", ...report.dumps].map((file) => link("", file));
  $("about").innerHTML = `<details class="card"><summary>About this run</summary>
<p class="soft">Files: ${files.join(", ")}</p>
<p class="soft">Plan ${mono(report.plan || "-")}, seed ${report.seed}, ${report.slots} slot${report.slots === 1 ? "" : "s"}${report.exit_code === null ? "" : `, exit code ${report.exit_code}`}</p>
${bounds.length ? table(["Bound", "Seconds"], bounds) : ""}${made.length ? table(["Implementation", "Version", "From", "Image or commit", "Problem"], made) : ""}</details>`;
}

function fillFilters() {
  for (const key of ["test", "worker", "driver"]) {
    const names = [...new Set(report.cells.map((cell) => cell[key]))];
    $(`f-${key}`).innerHTML = `<option value="">all (${names.length})</option>` + names.map((name) => `<option>${esc(name)}</option>`).join("");
  }
}

// -- matrix and list --------------------------------------------------------------------------------------------------------

function cellButton(i, isFirst) {
  const cell = report.cells[i];
  const status = statusOf(cell);
  const kind = cell.is_expected ? (cell.expectation.is_declared ? "cell declared" : "cell") : "cell bad";
  let label = `${cell.worker} as worker, ${cell.driver} as driver: ${wordOf(cell)}`;
  if (!cell.is_expected) label += ", unexpected";
  else if (cell.expectation.is_declared) label += ", as declared in expect.toml";
  let was = "";
  if (other && changeOf(cell)) {
    const before = other.cells.get(cell.id);
    was = before ? `<small>was ${symbol(statusOf(before))} ${esc(wordOf(before))}</small>` : "<small>new</small>";
    label += before ? `, was ${wordOf(before)}` : ", new";
  }
  const mark = cell.is_expected ? "" : " !";
  const open = cell.id === state.cell ? ' aria-current="true"' : "";
  return `<button type="button" class="${kind}" data-s="${status}" data-open="${i}" tabindex="${isFirst ? 0 : -1}" aria-label="${esc(label)}"${open}><span>${symbol(status)}<span>${esc(wordOf(cell))}${mark}</span></span>${was}</button>`;
}

// Rows and columns stay in the order of the plan, whatever the filters let through.
const places = Object.fromEntries(["worker", "driver"].map((key) => [key, [...new Set(report.cells.map((cell) => cell[key]))]]));

function inOrder(key, cells) {
  const names = new Set(cells.map((cell) => cell[key]));
  return places[key].filter((name) => names.has(name));
}

function drawMatrix() {
  const groups = new Map();
  for (const i of shown) {
    const cell = report.cells[i];
    const key = `${cell.test}\0${variantOf(cell)}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(i);
  }
  const about = new Map(report.tests.map((test) => [test.name, test]));
  const seen = new Set();
  const html = [];
  for (const [key, members] of groups) {
    const [test, variant] = key.split("\0");
    const cells = members.map((i) => report.cells[i]);
    const workers = inOrder("worker", cells);
    const drivers = inOrder("driver", cells);
    const at = new Map(members.map((i) => [`${report.cells[i].worker}\0${report.cells[i].driver}`, i]));
    const bad = cells.filter((cell) => !cell.is_expected).length;
    const description = about.get(test)?.description;
    const details = description && !seen.has(test) ? `<details><summary>What it tests</summary><pre>${esc(description)}</pre></details>` : "";
    seen.add(test);
    const title = esc(test) + (variant ? ` <span class="soft">${esc(variant)}</span>` : "");
    let first = true;
    const rows = workers.map((worker) => `<tr><th scope="row">${esc(worker)}</th>${drivers.map((driver) => {
      const i = at.get(`${worker}\0${driver}`);
      if (i === undefined) return '<td class="hole" aria-label="not among those shown">·</td>';
      const button = cellButton(i, first);
      first = false;
      return `<td>${button}</td>`;
    }).join("")}</tr>`);
    html.push(`<section class="test" style="contain-intrinsic-size:auto ${60 + workers.length * 38}px"><header><h3>${title}</h3><span class="soft">${cells.length} cell${cells.length === 1 ? "" : "s"}${bad ? `, <b class="flag" data-s="failed">${bad} unexpected</b>` : ""}</span>${details}</header>
<div class="scroll"><table class="grid"><caption class="hush">${esc(test)} ${esc(variant)}: rows are workers, columns are drivers</caption><thead><tr><th scope="col">worker ↓ driver →</th>${drivers.map((driver) => `<th scope="col">${esc(driver)}</th>`).join("")}</tr></thead><tbody>${rows.join("")}</tbody></table></div></section>`);
  }
  $("cells").classList.toggle("many", shown.length > MANY);
  $("cells").innerHTML = html.join("");
}

function drawList() {
  const sorted = [...shown];
  const value = { status: (c) => statusOf(c), id: (c) => c.id, seconds: (c) => c.seconds }[order.key];
  if (value) sorted.sort((a, b) => {
    const [x, y] = [value(report.cells[a]), value(report.cells[b])];
    return (x < y ? -1 : x > y ? 1 : 0) * (order.down ? -1 : 1);
  });
  const head = [["status", "Status"], ["id", "Cell"], ["seconds", "Time"]].map(([key, name]) => {
    const sort = order.key === key ? ` aria-sort="${order.down ? "descending" : "ascending"}"` : "";
    const arrow = order.key === key ? (order.down ? " ↓" : " ↑") : "";
    return `<th scope="col"${sort}${key === "seconds" ? ' class="num"' : ""}><button type="button" data-sort="${key}">${name}${arrow}</button></th>`;
  }).join("");
  const rows = sorted.slice(0, listed).map((i) => {
    const cell = report.cells[i];
    const was = other && changeOf(cell) ? ` <span class="soft">was ${esc(other.cells.has(cell.id) ? wordOf(other.cells.get(cell.id)) : "not there")}</span>` : "";
    return `<tr><td>${badge(cell)}${was}</td><td><button type="button" class="link" data-open="${i}">${esc(cell.id)}</button></td><td class="num">${cell.verdict ? seconds(cell.seconds) : ""}</td><td class="reason">${esc(reasonOf(cell))}</td></tr>`;
  });
  const more = sorted.length > listed ? `<button type="button" class="more" data-more>Show ${Math.min(LIST_STEP, sorted.length - listed)} more of ${sorted.length - listed}</button>` : "";
  $("cells").classList.add("many");
  $("cells").innerHTML = `<div><div class="scroll" style="width:auto"><table class="list"><thead><tr>${head}<th scope="col" class="reason">Reason</th></tr></thead><tbody>${rows.join("")}</tbody></table></div>${more}</div>`;
}

function draw() {
  shown = [];
  report.cells.forEach((cell, i) => { if (passes(cell, i)) shown.push(i); });
  for (const key of ["test", "worker", "driver", "show", "change", "text"]) if ($(`f-${key}`).value !== state[key]) $(`f-${key}`).value = state[key];
  for (const button of document.querySelectorAll("[data-status]")) button.setAttribute("aria-pressed", state.status.has(button.dataset.status));
  for (const button of document.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", state.view === button.dataset.view);
  $("count").textContent = `${shown.length.toLocaleString("en")} of ${report.cells.length.toLocaleString("en")} cells`;
  if (!shown.length) $("cells").innerHTML = '<p class="card empty">No cell matches these filters.</p>';
  else if (state.view === "list") drawList();
  else drawMatrix();
  writeAddress();
}

// -- difference ---------------------------------------------------------------------------------------------------------------

function compareWith(data, name) {
  if (!data || typeof data !== "object" || data.schema_version !== SCHEMA_VERSION || !Array.isArray(data.cells)) {
    const version = data && typeof data === "object" && "schema_version" in data ? `it has schema_version ${data.schema_version}, and ${SCHEMA_VERSION} was needed` : "it is no report of a matrix";
    return tellDifference(`${name} cannot be compared: ${version}.`);
  }
  other = { name: `run ${data.run}`, data, cells: new Map(data.cells.map((cell) => [cell.id, cell])) };
  $("l-change").hidden = false;
  const changed = report.cells.filter((cell) => changeOf(cell));
  const gone = data.cells.filter((cell) => !byId.has(cell.id));
  const count = (kind) => changed.filter((cell) => changeOf(cell) === kind).length;
  const parts = [["worse", "worse"], ["better", "better"], ["changed", "otherwise changed"], ["new", "new"]]
    .map(([kind, words]) => [kind, count(kind), words]).filter(([, n]) => n)
    .map(([, n, words]) => `${n} ${words}`);
  if (gone.length) parts.push(`${gone.length} no longer there`);
  const rank = { worse: 0, better: 1, changed: 2, new: 3 };
  const lines = changed.toSorted((a, b) => rank[changeOf(a)] - rank[changeOf(b)]).slice(0, 12).map((cell) => {
    const was = other.cells.get(cell.id);
    const before = was ? `was ${badge(was)} in ${seconds(was.seconds)}` : "";
    return `<li>${badge(cell)}<button type="button" class="link" data-open="${byId.get(cell.id)}">${esc(cell.id)}</button><span><b>${changeOf(cell)}</b> ${before}</span></li>`;
  });
  for (const cell of gone.slice(0, 6)) lines.push(`<li>${badge(cell)}<span>${esc(cell.id)}</span><span><b>no longer there</b></span></li>`);
  const foreign = data.matrix === report.matrix ? "" : `<p class="soft">It is of another matrix, ${esc(data.matrix)}.</p>`;
  const when = data.began ? ` of ${new Date(data.began * 1000).toLocaleString()}` : "";
  const time = data.seconds ? `; it took ${seconds(data.seconds)}, this one ${seconds(report.seconds)}` : "";
  const all = changed.length > 12 ? `<button type="button" class="more" data-changes>Show all ${changed.length} in the matrix</button>` : "";
  tellDifference(`Compared with run ${data.run}${when}: ${parts.join(", ") || "no cell changed"}${time}.`, `${foreign}<ul class="rows">${lines.join("")}</ul>${all} <button type="button" class="more" data-forget>Stop comparing</button>`);
  draw();
  if (state.cell) openCell(byId.get(state.cell), false);
}

function tellDifference(line, html = "") {
  $("difference").hidden = false;
  $("difference").innerHTML = `<div class="card"><h2>Difference</h2><p role="status">${esc(line)}</p>${html}</div>`;
}

function forget() {
  other = null;
  state.change = "";
  $("l-change").hidden = true;
  $("difference").hidden = true;
  draw();
}

async function readOther(file) {
  try {
    compareWith(JSON.parse(await file.text()), file.name);
  } catch (error) {
    tellDifference(`${file.name} cannot be compared: ${error.message}`);
  }
}

// -- a cell -----------------------------------------------------------------------------------------------------------------

let eventLines = null;
let current = null; // the excerpt that is shown

function eventsOf(cell) {
  if (!eventLines) {
    eventLines = new Map();
    for (const line of $("events").textContent.split("\n")) {
      if (line) eventLines.set(JSON.parse(line.slice(0, line.indexOf("\t"))), line.slice(line.indexOf("\t") + 1));
    }
  }
  const line = eventLines.get(cell.id);
  return line ? JSON.parse(line) : null;
}

// Relative to the page, so that it opens from disk wherever the run's folder is.
const link = (folder, file) => `<a href="${[folder, file].filter(Boolean).join("/").split("/").map(encodeURIComponent).join("/")}">${esc(file)}</a>`;
const offset = (ms) => `${ms < 0 ? "-" : "+"}${(Math.abs(ms) / 1000).toFixed(3)}`;
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function openCell(i, moveFocus = true) {
  const cell = report.cells[i];
  if (!cell) return closeCell();
  state.cell = cell.id;
  current = eventsOf(cell);
  const verdict = cell.verdict;
  const was = other && other.cells.get(cell.id);
  const variant = variantOf(cell);
  const wanted = cell.expectation;
  const place = shown.indexOf(i);
  const facts = [];
  if (blameOf(verdict)) facts.push(["Blame", esc(blameOf(verdict))]);
  facts.push(["Expected", `${esc(wanted.statuses.join(" or "))}${wanted.is_declared ? `: ${esc(wanted.reason)}` : ""}${wanted.pass_rate === null ? "" : `, pass rate ${wanted.pass_rate}`}${wanted.expires ? ` <span class="soft">until ${esc(wanted.expires)}</span>` : ""}`]);
  if (was) facts.push(["Was", `${badge(was)} in ${seconds(was.seconds)} <span class="soft">${esc(other.name)}</span>`]);
  if (cell.attempts.length > 1) facts.push(["Attempts", cell.attempts.map((a) => esc(a.status)).join(", then ")]);
  if (verdict && verdict.status !== "skipped") facts.push(["Took", `${seconds(cell.seconds)}${cell.cpu === null ? "" : `, ${seconds(cell.cpu)} of processor time`}${cell.pressed ? ", while the machine was short of something" : ""}`]);
  const exits = Object.entries(cell.exits);
  if (exits.length) facts.push(["Exit codes", exits.map(([role, code]) => `${esc(role)} ${code}`).join(", ")]);
  for (const [name, values] of Object.entries(cell.samples)) facts.push([`Samples of ${esc(name)}`, summaryOf(values)]);
  facts.push(["Seed", cell.seed]);
  const runs = [`harness interop.run --cell ${quoted(cell.id)}`];
  if (cell.folder && cell.evidence.includes("repro.sh")) runs.push(`sh ${quoted(`${cell.folder}/repro.sh`)}`);
  const files = cell.folder ? cell.evidence.map((file) => link(cell.folder, file)) : [];
  const dump = `${cell.worker}.dump`;
  if (cell.folder && report.dumps.includes(dump)) files.push(link("", dump));
  $("panel").hidden = false;
  $("layout").classList.add("open");
  $("panel").dataset.s = statusOf(cell);
  $("panel").innerHTML = `<header>
<div class="nav"><span class="soft">${place >= 0 ? `${place + 1} of ${shown.length}` : "not among the cells shown"}</span>
<button type="button" data-step="-1" aria-label="Previous cell"${place > 0 ? "" : " disabled"}>‹</button><button type="button" data-step="1" aria-label="Next cell"${place >= 0 && place < shown.length - 1 ? "" : " disabled"}>›</button><button type="button" data-close aria-label="Close">✕ Close</button></div>
<h2 id="panel-title" tabindex="-1">${esc(cell.test)}${variant ? ` <span>${esc(variant)}</span>` : ""}<br><span>worker</span> ${esc(cell.worker)} <span>· driver</span> ${esc(cell.driver)}</h2>
<div class="verdict">${badge(cell)}<span class="soft">${cell.is_expected ? (wanted.is_declared ? "as declared in expect.toml" : "as expected") : "unexpected"}</span></div>
${verdict && reasonOf(cell) ? `<p class="why">${esc(reasonOf(cell))}</p>` : ""}</header>
${deciderOf(cell)}
<dl class="facts">${facts.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join("")}</dl>
<section aria-label="Run it again"><h3>Run it again</h3>${runs.map((run) => `<div class="command"><pre>${esc(run)}</pre><button type="button" data-copy="${esc(run)}">Copy</button></div>`).join("")}</section>
${files.length ? `<section aria-label="Evidence"><h3>Evidence</h3><div class="files">${files.join("")}</div></section>` : ""}
<section id="timeline" aria-label="Events"></section>`;
  drawTimeline(cell);
  for (const button of document.querySelectorAll('.cell[aria-current="true"]')) button.removeAttribute("aria-current");
  const button = document.querySelector(`.cell[data-open="${i}"]`);
  if (button) button.setAttribute("aria-current", "true");
  if (moveFocus) {
    $("panel").scrollTop = 0;
    if (innerWidth <= 1080) scrollTo(0, 0);
    $("panel-title").focus({ preventScroll: true });
  }
  writeAddress();
}

function closeCell() {
  const i = byId.get(state.cell);
  state.cell = "";
  $("panel").hidden = true;
  $("layout").classList.remove("open");
  for (const button of document.querySelectorAll('.cell[aria-current="true"]')) button.removeAttribute("aria-current");
  const button = document.querySelector(`#cells [data-open="${i}"]`);
  if (button) button.focus();
  writeAddress();
}

function summaryOf(values) {
  if (!values.length) return "none";
  const sorted = [...values].sort((a, b) => a - b);
  return `${values.length}, median ${sorted[sorted.length >> 1]}, from ${sorted[0]} to ${sorted.at(-1)}`;
}

function deciderOf(cell) {
  const event = cell.deciding;
  if (!event) return "";
  const at = current ? offset(event.ti - current.base) : "";
  const isHere = current && current.rows.some((row) => row[0] === cell.verdict.event);
  return `<div class="decider"><span><b>Decided by</b> <b>${esc(event.ty)}</b> of ${esc(event.ro || "the runner")}${at ? ` at ${at} s` : ""}${isHere ? ' · <button type="button" class="link" data-decider>show it among the events</button>' : ""}</span><code>${esc(JSON.stringify(event.in).slice(0, 600))}</code></div>`;
}

// -- events of a cell ---------------------------------------------------------------------------------------------------------

let muted = new Set();

function drawTimeline(cell) {
  muted = new Set();
  const box = $("timeline");
  if (!current) {
    box.innerHTML = `<h3>Events</h3><p class="soft">${cell.folder ? "No events of this cell are in this page." : "It has no events: it was not run."}</p>`;
    return;
  }
  const lanes = current.lanes.map((name, l) => `<button type="button" data-l="${l}" data-lane="${l}" aria-pressed="true"><span class="swatch"></span>${esc(name || "runner")}</button>`);
  box.innerHTML = `<h3>Events</h3>${phasesOf(cell)}<div id="swim"></div>
<p class="soft key">◆ control ● trace <small>●</small> log</p>
<div class="evtools" role="group" aria-label="Which events">${lanes.join("")}<button type="button" data-only="control" aria-pressed="false">Control only</button><span class="soft">${current.rows.length === current.total ? `${current.total} events` : `${current.rows.length} of ${current.total} events; the others are in events.jsonl`}</span></div>
<div id="rows"></div>`;
  drawSwim(cell);
  drawRows(cell);
}

function phasesOf(cell) {
  const spans = Object.entries(cell.spans);
  const all = spans.reduce((sum, [, n]) => sum + n, 0);
  if (!all) return "";
  const text = spans.map(([name, n]) => `${name} ${seconds(n)}`).join(", ");
  return `<div class="phases" aria-hidden="true">${spans.map(([name, n]) => `<span style="flex:${n / all} 1 0">${esc(name)} ${seconds(n)}</span>`).join("")}</div><p class="soft key" data-stages>Stages: ${esc(text)}</p>`;
}

const isControl = (ty) => CONTROL.has(ty) || ty.startsWith("runner.");
const kindOf = (ty) => (isControl(ty) ? "control" : ty === "log" ? "log" : "trace");
const niceStep = (span, most) => [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 36e5].find((step) => span / step <= most) ?? 36e6;

function drawSwim(cell) {
  const box = $("swim");
  if (!box || !current || !current.rows.length) return;
  const width = Math.max(280, box.clientWidth), gutter = 70, lane = 24, head = 16, foot = 18;
  const height = head + lane * current.lanes.length + foot;
  const from = Math.min(...current.rows.map((row) => row[1]), 0), to = Math.max(...current.rows.map((row) => row[1]), from + 1);
  const x = (t) => gutter + 8 + ((t - from) / (to - from)) * (width - gutter - 22);
  const y = (l) => head + lane * l + lane / 2;
  const parts = [];
  const step = niceStep(to - from, width / 90);
  for (let t = Math.ceil(from / step) * step; t <= to; t += step)
    parts.push(`<line class="lane" x1="${x(t)}" x2="${x(t)}" y1="${head}" y2="${height - foot}" stroke-dasharray="2 3"/><text x="${x(t)}" y="${height - 5}" text-anchor="middle">${t / 1000} s</text>`);
  current.lanes.forEach((name, l) => parts.push(`<line class="lane" x1="${gutter}" x2="${width}" y1="${y(l)}" y2="${y(l)}"/><text class="name" x="8" y="${y(l) + 4}">${esc((name || "runner").slice(0, 10))}</text>`));
  const decided = cell.verdict ? cell.verdict.event : null;
  const marks = [];
  let last = "";
  for (const [n, t, l, ty] of current.rows) {
    const px = x(t).toFixed(1), kind = kindOf(ty), spot = `${l} ${kind} ${Math.round(px / 2)}`;
    if (n === decided) {
      const anchor = px > width - 70 ? "end" : px < gutter + 40 ? "start" : "middle";
      parts.push(`<line class="decided" x1="${px}" x2="${px}" y1="${head - 3}" y2="${height - foot}"/><text class="decided" x="${px}" y="11" text-anchor="${anchor}">decided</text>`);
      marks.push(`<circle class="ring" cx="${px}" cy="${y(l)}" r="9"/>`);
    } else if (spot === last) continue; // nobody sees two in one place
    last = spot;
    const shape = kind === "control" ? `<rect x="${px - 5}" y="${y(l) - 5}" width="10" height="10" transform="rotate(45 ${px} ${y(l)})"` : `<circle cx="${px}" cy="${y(l)}" r="${kind === "log" ? 2.5 : 4}"`;
    marks.push(`${shape} class="mark ${kind}" data-l="${l % 6}" data-n="${n}"><title>${esc(`${offset(t)} s ${current.lanes[l] || "runner"}: ${ty}`)}</title></${kind === "control" ? "rect" : "circle"}>`);
  }
  box.innerHTML = `<svg class="swim" role="img" aria-label="Events of ${current.lanes.length} lanes over ${((to - from) / 1000).toFixed(2)} s; the list below has each" viewBox="0 0 ${width} ${height}" height="${height}">${parts.join("")}${marks.join("")}</svg>`;
}

function drawRows(cell, onlyControl = false) {
  const decided = cell.verdict ? cell.verdict.event : null;
  const rails = current.lanes.length;
  let next = 0;
  const html = [];
  for (const [n, t, l, ty, said] of current.rows) {
    if (n > next && !muted.size && !onlyControl) html.push(`<li class="gap">${n - next} event${n - next === 1 ? "" : "s"} left out</li>`);
    next = n + 1;
    if (n !== decided && (muted.has(l) || (onlyControl && !isControl(ty)))) continue;
    const dots = current.lanes.map((_, k) => `<i${k === l ? ` class="on ${kindOf(ty)}" data-l="${l % 6}"` : ""}></i>`).join("");
    const mark = n === decided ? '<span class="flag">◆ decided here </span>' : "";
    html.push(`<li><button type="button" data-event="${n}" aria-expanded="false" tabindex="-1"${n === decided ? " data-deciding" : ""}><time>${offset(t)}</time><span class="rails" aria-hidden="true">${dots}</span><span class="said">${mark}<span class="ro" data-l="${l % 6}">${esc(current.lanes[l] || "runner")}</span> <b>${esc(ty)}</b> <code>${esc(said)}</code></span></button></li>`);
  }
  if (current.total > next && !muted.size && !onlyControl) html.push(`<li class="gap">${current.total - next} events left out</li>`);
  $("rows").innerHTML = `<ol class="events" aria-label="Events in order" style="--rails:${rails * 14}px">${html.join("")}</ol>`;
  const start = $("rows").querySelector("[data-deciding]") ?? $("rows").querySelector("[data-event]");
  if (start) start.tabIndex = 0;
}

function showEvent(n) {
  const row = $("rows").querySelector(`[data-event="${n}"]`);
  if (!row) return;
  row.scrollIntoView({ block: "center" });
  focusOne(row, "[data-event]");
}

// One of many buttons is reached by Tab, the others from it by arrow keys.
function focusOne(button, selector) {
  const box = button.closest("table, ol");
  for (const each of box.querySelectorAll(`${selector}[tabindex="0"]`)) each.tabIndex = -1;
  button.tabIndex = 0;
  button.focus({ preventScroll: false });
}

function moveInGrid(button, key) {
  const td = button.closest("td"), tr = td.parentElement, column = td.cellIndex;
  const along = (start, step) => {
    for (let each = start; each; each = each[step]) {
      const found = each.querySelector?.(".cell");
      if (found) return found;
    }
    return null;
  };
  const rows = [...tr.parentElement.rows], row = rows.indexOf(tr);
  const column_of = (candidates) => candidates.map((each) => each.cells[column].querySelector(".cell")).find(Boolean);
  const to = {
    ArrowRight: () => along(td.nextElementSibling, "nextElementSibling"),
    ArrowLeft: () => along(td.previousElementSibling, "previousElementSibling"),
    ArrowDown: () => column_of(rows.slice(row + 1)),
    ArrowUp: () => column_of(rows.slice(0, row).reverse()),
    Home: () => tr.querySelector(".cell"),
    End: () => [...tr.querySelectorAll(".cell")].at(-1),
  }[key]?.();
  if (to) focusOne(to, ".cell");
  return Boolean(to);
}

function moveInEvents(button, key) {
  const rows = [...button.closest("ol").querySelectorAll("[data-event]")];
  const at = rows.indexOf(button);
  const to = { ArrowDown: rows[at + 1], ArrowUp: rows[at - 1], Home: rows[0], End: rows.at(-1), PageDown: rows[Math.min(at + 15, rows.length - 1)], PageUp: rows[Math.max(at - 15, 0)] }[key];
  if (to) focusOne(to, "[data-event]");
  return Boolean(to);
}

// -- what happens ---------------------------------------------------------------------------------------------------------------

function step(by) {
  const place = shown.indexOf(byId.get(state.cell)) + by;
  if (place >= 0 && place < shown.length) openCell(shown[place]);
}

const clicks = {
  open: (button) => openCell(Number(button.dataset.open)),
  status: (button) => {
    const status = button.dataset.status;
    if (!state.status.delete(status)) state.status.add(status);
    draw();
  },
  view: (button) => { state.view = button.dataset.view; draw(); },
  all: () => { state.show = "unexpected"; draw(); $("filters").scrollIntoView(); },
  changes: () => { state.change = "changed"; draw(); $("filters").scrollIntoView(); },
  forget,
  more: () => { listed += LIST_STEP; drawList(); },
  sort: (button) => { order = { key: button.dataset.sort, down: order.key === button.dataset.sort && !order.down }; drawList(); document.querySelector(`[data-sort="${order.key}"]`).focus(); },
  close: closeCell,
  step: (button) => step(Number(button.dataset.step)),
  decider: () => showEvent(report.cells[byId.get(state.cell)].verdict.event),
  n: (mark) => showEvent(mark.dataset.n),
  lane: (button) => {
    const lane = Number(button.dataset.lane);
    if (!muted.delete(lane)) muted.add(lane);
    button.setAttribute("aria-pressed", !muted.has(lane));
    drawRows(report.cells[byId.get(state.cell)], document.querySelector("[data-only]").getAttribute("aria-pressed") === "true");
  },
  only: (button) => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    drawRows(report.cells[byId.get(state.cell)], on);
  },
  event: (button) => {
    button.setAttribute("aria-expanded", button.getAttribute("aria-expanded") !== "true");
    focusOne(button, "[data-event]");
  },
  copy: async (button) => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "Selected";
    }
  },
};

document.addEventListener("click", (event) => {
  for (const [name, act] of Object.entries(clicks)) {
    const target = event.target.closest(`[data-${name}]`);
    if (target) return act(target);
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const on = event.target;
  if (event.key === "Escape" && state.cell) closeCell();
  else if (on.matches(".cell") && moveInGrid(on, event.key)) event.preventDefault();
  else if (on.matches("[data-event]") && moveInEvents(on, event.key)) event.preventDefault();
});

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
  $("theme").setAttribute("aria-label", `Colours: ${theme === "auto" ? "as the system" : theme}`);
  try { localStorage.setItem("interop-theme", theme); } catch { /* a page from a file may have no storage */ }
}

function begin() {
  let theme = "auto";
  try { theme = localStorage.getItem("interop-theme") ?? "auto"; } catch { /* as above */ }
  setTheme(THEMES.includes(theme) ? theme : "auto");
  $("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % 3]));
  readAddress();
  drawHead();
  drawAttention();
  drawAbout();
  fillFilters();
  for (const key of ["test", "worker", "driver", "show", "change"]) $(`f-${key}`).addEventListener("change", () => { state[key] = $(`f-${key}`).value; draw(); });
  let waiting = 0;
  $("f-text").addEventListener("input", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => { state.text = $("f-text").value.trim(); draw(); });
  });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", (event) => {
    event.preventDefault();
    Object.assign(state, { test: "", worker: "", driver: "", show: "", change: "", text: "", status: new Set() });
    draw();
  });
  $("other").addEventListener("change", () => { const [file] = $("other").files; $("other").value = ""; if (file) readOther(file); });
  addEventListener("hashchange", () => { readAddress(); draw(); if (state.cell) openCell(byId.get(state.cell)); else if (!$("panel").hidden) closeCell(); });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width && state.cell) drawSwim(report.cells[byId.get(state.cell)]); width = innerWidth; });
  const linked = state.cell;
  draw();
  const against = JSON.parse($("against").textContent);
  if (against) compareWith(against, "the other report");
  if (linked) openCell(byId.get(linked) ?? -1);
  requestAnimationFrame(() => { document.documentElement.dataset.ready = Math.round(performance.now()); });
}

begin();
