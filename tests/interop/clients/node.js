// One Node client against one server: a line per feature. usage: node.js CLIENT HOST PORT
// INTEROP_PASSWORD is the port of the same server that asks for a password.
const assert = require("node:assert");
const { createRequire } = require("node:module");
const load = createRequire(process.cwd() + "/");
const [client, host, port] = process.argv.slice(2);
const server = `${host}:${port}`;
const { INTEROP_PASSWORD: guarded, INTEROP_USER: username, INTEROP_SECRET: password } = process.env;
const LARGE = "x".repeat(900000);
const OVER = "y".repeat(1200000);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function check(feature, call) {
  try {
    await call();
    console.log(`${feature}\tok`);
  } catch (error) {
    console.log(`${feature}\tFAILED ${String(error.message).split("\n").join(" ").slice(0, 150)}`);
  }
}

async function memjs() {
  const c = load("memjs").Client.create(server, { timeout: 10, retries: 1 });
  const value = async (key) => { const { value } = await c.get(key); return value && value.toString(); };
  await check("get and set", async () => {
    assert.equal(await c.set("k", "1", {}), true);
    assert.equal(await value("k"), "1");
    assert.equal(await value("none"), null);
  });
  await check("add", async () => {
    await c.delete("fresh");
    assert.deepEqual([await c.add("fresh", "1", {}), await c.add("fresh", "2", {})], [true, false]);
  });
  await check("replace", async () => assert.deepEqual([await c.replace("k", "2", {}), await c.replace("none", "2", {})], [true, false]));
  await check("append and prepend", async () => {
    // Its prepend sends an append.
    assert.equal(await c.append("k", "b"), true);
    assert.equal(await value("k"), "2b");
  });
  await check("incr and decr", async () => {
    await c.delete("n");
    const up = await c.increment("n", 4, { initial: 5 });
    assert.equal(up.value, 5);
    assert.equal((await c.increment("n", 4, {})).value, 9);
    assert.equal((await c.decrement("n", 20, {})).value, 0);
  });
  await check("touch", async () => assert.equal(await c.touch("k", 100), true));
  await check("large value", async () => {
    await c.set("large", LARGE, {});
    assert.equal(await value("large"), LARGE);
  });
  await check("over-limit value", async () => {
    await c.set("big", OVER, {}).catch(() => {});
    await c.set("after", "1", {});
    assert.equal(await value("after"), "1");
  });
  await check("expiry", async () => {
    await c.set("short", "1", { expires: 1 });
    await wait(2100);
    assert.equal(await value("short"), null);
  });
  await check("delete", async () => assert.deepEqual([await c.delete("k"), await c.delete("k")], [true, false]));
  await check("flush", async () => {
    await c.flush();
    assert.equal(await value("after"), null);
  });
  await check("password", async () => {
    const at = (who) => load("memjs").Client.create(`${host}:${guarded}`, { timeout: 2, retries: 0, ...who });
    const let_in = at({ username, password });
    assert.equal(await let_in.set("p", "1", {}), true);
    assert.equal((await let_in.get("p")).value.toString(), "1");
    await assert.rejects(at({ username, password: "wrong" }).get("p"));
  });
}

async function memcached() {
  const plain = new (load("memcached"))(server, { timeout: 10000, maxValue: 2 << 20, retries: 0 });
  const call = (name, ...args) => new Promise((done, fail) => plain[name](...args, (error, data) => (error ? fail(error) : done(data))));
  const refused = async (...args) => assert.equal(await call(...args).catch(() => false), false);
  await check("get and set", async () => {
    assert.equal(await call("set", "k", "1", 100), true);
    assert.equal(await call("get", "k"), "1");
    assert.equal(await call("get", "none"), undefined);
  });
  await check("add", async () => {
    await call("del", "fresh");
    assert.equal(await call("add", "fresh", "1", 100), true);
    await refused("add", "fresh", "2", 100);
  });
  await check("replace", async () => {
    assert.equal(await call("replace", "k", "2", 100), true);
    await refused("replace", "none", "2", 100);
  });
  await check("append and prepend", async () => {
    await call("append", "k", "b");
    await call("prepend", "k", "a");
    assert.equal(await call("get", "k"), "a2b");
  });
  await check("cas", async () => {
    const { cas } = await call("gets", "k");
    assert.equal(await call("cas", "k", "new", cas, 100), true);
    await refused("cas", "k", "newer", cas, 100);
    assert.equal(await call("get", "k"), "new");
  });
  await check("incr and decr", async () => {
    await call("set", "n", 5, 100);
    assert.deepEqual([await call("incr", "n", 4), await call("decr", "n", 20)], [9, 0]);
  });
  await check("touch", async () => assert.equal(await call("touch", "k", 100), true));
  await check("multi-get", async () => {
    await call("set", "m1", "1", 100);
    await call("set", "m2", "2", 100);
    assert.deepEqual({ ...(await call("getMulti", ["m1", "m2", "none"])) }, { m1: "1", m2: "2" });
  });
  await check("large value", async () => {
    await call("set", "large", LARGE, 100);
    assert.equal(await call("get", "large"), LARGE);
  });
  await check("expiry", async () => {
    await call("set", "short", "1", 1);
    await wait(2100);
    assert.equal(await call("get", "short"), undefined);
  });
  await check("delete", async () => assert.equal(await call("del", "k"), true));
  await check("flush", async () => {
    await call("flush");
    assert.equal(await call("get", "m1"), undefined);
  });
}

({ memjs, memcached })[client]().then(() => process.exit(0));
