import assert from "node:assert/strict";
import { test } from "node:test";

import { envOf, healthOf, isProvenance, label, patchOf, rows, same, shown } from "../../app/dashboard/static/changes.js";
import { random } from "./random.mjs";

test("a secret that differs is masked on both sides, and that it changed is said", () => {
  const path = "TaskTemplate.ContainerSpec.Env.KEY";
  const [changed, added, removed] = rows([
    { path, before: "********", after: "********", secret: true },
    { path, before: null, after: "********", secret: true },
    { path, before: "********", after: null, secret: true },
  ]);
  assert.deepEqual([changed.label, changed.before, changed.after], ["Env.KEY", "********", "******** (changed)"]);
  assert.deepEqual([added.before, added.after, added.added], ["not there", "********", true]);
  assert.deepEqual([removed.before, removed.after, removed.removed], ["********", "not there", true]);
});

test("labels of the service and of its containers are told apart", () => {
  assert.equal(label("Labels.tagship.build"), "service label tagship.build");
  assert.equal(label("TaskTemplate.ContainerSpec.Labels.tagship.build"), "container label tagship.build");
  assert.equal(label("Mode.Replicated.Replicas"), "Replicas");
  assert.ok(isProvenance("Labels.tagship.build"));
  assert.ok(!isProvenance("TaskTemplate.ContainerSpec.Image"));
});

test("values read as they are, the empty ones by name", () => {
  assert.deepEqual([null, "", [], ["a", "b"], 0].map(shown), ["not there", "empty", "none", "a, b", "0"]);
});

test("a patch holds what differs and nothing else", () => {
  const before = { name: "AXA", replicas: 1, env_vars: { A: "********", B: "********" }, healthcheck: null };
  assert.deepEqual(patchOf(before, structuredClone(before)), {});
  assert.deepEqual(patchOf(before, { ...before, env_vars: { B: "********", A: "********" } }), {});
  assert.deepEqual(patchOf(before, { ...before, env_vars: { A: "********" }, replicas: 2 }), { env_vars: { A: "********" }, replicas: 2 });
  assert.deepEqual(patchOf({ track: "^1" }, { track: null }), { track: null });
});

test("equal JSON is the same, whatever the order of names; other JSON is not", () => {
  const next = random(7);
  for (let round = 0; round < 200; round++) {
    const value = Object.fromEntries(Array.from({ length: 4 }, (_, index) => [`n${index}`, next(2) ? [next(100)] : { a: next(100) }]));
    const turned = Object.fromEntries(Object.entries(structuredClone(value)).reverse());
    assert.ok(same(value, turned));
    assert.ok(!same(value, { ...turned, n1: "other" }));
    assert.ok(!same(value, { ...turned, more: 1 }));
  }
});

test("rows of variables become an env, and what is wrong with them is said", () => {
  assert.deepEqual(envOf([[" A ", "x "], ["", ""], ["EMPTY", ""], ["__proto__", "y"]]), Object.fromEntries([["A", "x "], ["EMPTY", ""], ["__proto__", "y"]]));
  assert.throws(() => envOf([["A", "1"], ["A", "2"]]), /A is there twice/);
  assert.throws(() => envOf([["", "value"]]), /no name/);
});

test("a health check is a command of the shell, or an array without one; without a command there is none", () => {
  const numbers = { interval_s: "30", timeout_s: "", retries: "3", start_period_s: "0" };
  assert.equal(healthOf({ test: " ", ...numbers }), null);
  assert.deepEqual(healthOf({ test: "wget localhost", ...numbers }), { test: "wget localhost", interval_s: 30, retries: 3, start_period_s: 0 });
  assert.deepEqual(healthOf({ test: '["CMD", "/check"]', ...numbers }).test, ["CMD", "/check"]);
  assert.equal(healthOf({ test: "[ -f /ready ]", ...numbers }).test, "[ -f /ready ]");
});
