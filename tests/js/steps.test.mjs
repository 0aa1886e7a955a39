import assert from "node:assert/strict";
import { test } from "node:test";

import { Steps } from "../../app/dashboard/static/steps.js";
import { random } from "./random.mjs";

function read(text, end, times = []) {
  const steps = new Steps();
  const belongs = text.split("\n").map((line, index) => steps.take(line, index, times[index] ?? null));
  if (end) steps.finish(end, times.at(-1) ?? null);
  return { steps, belongs, list: steps.list.map(({ label, state, seconds }) => [label, state, seconds]) };
}

const BUILDKIT = `bre:v1 from acme/bre at commit aaaa
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 120B 0.0s done
#1 DONE 0.1s

#2 [1/3] FROM docker.io/library/node:22
#2 CACHED

#3 [2/3] RUN npm ci
#4 [stage-1 1/1] RUN true
#3 0.412 npm warn deprecated inflight@1.0.6
#4 DONE 0.3s

#3 1.250 npm error code EUSAGE
#3 1.251 npm error more
#3 ERROR: process "/bin/sh -c npm ci" did not complete successfully: exit code: 1

ERROR: step "[2/3] RUN npm ci" failed with exit code 1; the end of the build log shows what it said`;

test("BuildKit's steps have their names, states and times, also side by side", () => {
  const { list, belongs, steps } = read(BUILDKIT, "failed");
  assert.deepEqual(list, [
    ["[internal] load build definition from Dockerfile", "done", 0.1],
    ["[1/3] FROM docker.io/library/node:22", "cached", null],
    ["[2/3] RUN npm ci", "error", 1.251],
    ["[stage-1 1/1] RUN true", "done", 0.3],
  ]);
  assert.deepEqual(belongs, [-1, 0, 0, 0, 0, 1, 1, 1, 2, 3, 2, 3, 3, 2, 2, 2, 2, -1]);
  assert.equal(steps.errorLine, 13, "the first line of the failed step that looks like an error");
});

const CLASSIC = `bre:v1 from acme/bre at commit aaaa
Step 1/3 : FROM node:22
 ---> 0123456789ab
Step 2/3 : COPY . .
 ---> Using cache
 ---> 0123456789ac
Step 3/3 : RUN make
 ---> Running in 0123456789ad
#1 is what this prints
Step by step
done
 ---> 0123456789ae
Successfully built 0123456789ae
The push refers to repository [registry/bre]`;

test("the classic builder's steps end where the next begins, and last as long as that took", () => {
  const times = [0, 100, 100, 1600, 1700, 1700, 2000, 2000, 3000, 4000, 4500, 4600, 4600, 9000];
  const { list, belongs } = read(CLASSIC, "success", times);
  assert.deepEqual(list, [
    ["[1/3] FROM node:22", "done", 1.5],
    ["[2/3] COPY . .", "cached", null],
    ["[3/3] RUN make", "done", 2.6],
  ]);
  assert.deepEqual(belongs, [-1, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, -1, -1]);
});

test("the step in which the classic builder failed is the last one", () => {
  const { steps, list } = read("Step 1/2 : FROM a\nStep 2/2 : RUN make\nmake: *** [all] no\nlast words", "failed");
  assert.deepEqual(list.map(([, state]) => state), ["done", "error"]);
  assert.equal(steps.errorLine, 3, "no line looks like an error: the last one of the step");
});

test("what a step prints is no step", () => {
  const inside = "#1 [1/1] RUN x\n#1 0.100 Step 1/2 : FROM evil\n#1 0.100 #2 evil\nStep 1/2 : FROM evil\n#7 evil\n#1 0.2 DONE 9.0s\n#1 DONE 0.2s";
  const { list } = read(inside);
  assert.deepEqual(list, [["[1/1] RUN x", "done", 0.2]]);
});

test("an attempt begins anew, and what the one before left running was interrupted", () => {
  const text = "#1 [1/2] FROM a\n#1 DONE 1.0s\n\n#2 [2/2] RUN b\n#2 0.1 x\n\n--- attempt 2 of 3 ---\nStep 1/2 : FROM a\nStep 2/2 : RUN b";
  const { list, steps } = read(text, "cancelled");
  assert.deepEqual(list.map(([label, state]) => [label, state]), [
    ["[1/2] FROM a", "done"], ["[2/2] RUN b", "cancelled"], ["Attempt 2 of 3", "done"],
    ["[1/2] FROM a", "done"], ["[2/2] RUN b", "cancelled"],
  ]);
  assert.deepEqual(steps.list.map(({ kind }) => kind), ["step", "step", "attempt", "step", "step"]);
});

test("a step that is taken up again costs both times", () => {
  assert.deepEqual(read("#1 a\n#1 DONE 1.5s\n\n#1 0.1 x\n#1 DONE 2.0s").list, [["a", "done", 3.5]]);
});

test("lines that look like errors are found, and those that only speak of them are not", () => {
  const loud = (line) => read(`#1 [1/1] RUN x\n#1 0.1 ${line}\n#1 0.2 last\n#1 ERROR: exit code: 1`, "failed").steps.errorLine === 1;
  for (const line of ["npm ERR! code", "error: no", "src/a.c:3:5: fatal error: x.h", "Traceback (most recent call last):", "ModuleNotFoundError: x", "E: Unable to locate package", "go: panic: x", "Error: x", "\x1b[31merror\x1b[0m: x", "java.lang.NullPointerException"]) {
    assert.ok(loud(line), line);
  }
  for (const line of ["we compiled 14 files with 0 errors", "terror", "Terror", "the: end", ""]) assert.ok(!loud(line), line);
});

test("whatever comes, each line belongs to a step that there is, and states are known ones", () => {
  const parts = ["#1 ", "#2 ", "#3 ", "#99999999999 ", "Step 1/2 : ", "DONE 1.0s", "CACHED", "ERROR: ", "CANCELED", "--- attempt 2 of 3 ---", "Successfully built ", " ---> Using cache", "\x1b[31m", "x", "constructor", "__proto__"];
  const states = new Set(["run", "done", "cached", "error", "cancelled"]);
  const next = random(3);
  for (let round = 0; round < 500; round++) {
    const lines = Array.from({ length: next(40) }, () => Array.from({ length: next(4) }, () => parts[next(parts.length)]).join(""));
    const { belongs, steps } = read(lines.join("\n"), ["failed", "success", "cancelled", "constructor"][next(4)]);
    for (const step of belongs) assert.ok(step === -1 || steps.list[step]);
    for (const step of steps.list) assert.ok(states.has(step.state) && step.state !== "run");
    assert.ok(steps.errorLine < Math.max(1, lines.length));
  }
});
