const assert = require("node:assert");
const { test, beforeEach } = require("node:test");
const { command } = require("../redis");

const api = process.env.API_URL || "http://localhost:3871";

beforeEach(() => command("FLUSHALL"));

test("a counter begins at nothing", async () => {
  const answer = await fetch(`${api}/visits`);
  assert.deepStrictEqual(await answer.json(), { name: "visits", count: 0 });
});

test("a counter counts", async () => {
  for (const expected of [1, 2, 3]) {
    const answer = await fetch(`${api}/visits`, { method: "POST" });
    assert.strictEqual((await answer.json()).count, expected);
  }
});

test("counters are apart", async () => {
  await fetch(`${api}/a`, { method: "POST" });
  const answer = await fetch(`${api}/b`);
  assert.strictEqual((await answer.json()).count, 0);
});
