// What differs, in words, and what a form changed: pure, no DOM.

const CONTAINER = "TaskTemplate.ContainerSpec.";
const NAMES = [
  [`${CONTAINER}Labels.`, "container label "],
  ["Labels.", "service label "],
  [CONTAINER, ""],
  ["TaskTemplate.", ""],
  ["Mode.Replicated.", ""],
  ["EndpointSpec.", ""],
];

// A place in a Swarm spec or a field of a product, without what all of them begin with.
export function label(path) {
  const [prefix, name] = NAMES.find(([one]) => path.startsWith(one)) ?? ["", ""];
  return name + path.slice(prefix.length);
}

// Whether it only says where what runs came from.
export function isProvenance(path) {
  return path.startsWith(`${CONTAINER}Labels.`) || path.startsWith("Labels.");
}

// A value as one reads it.
export function shown(value) {
  if (value === null || value === undefined) return "not there";
  if (Array.isArray(value)) return value.length ? value.join(", ") : "none";
  return value === "" ? "empty" : String(value);
}

// One row for each difference of the API: {path, label, before, after, added, removed}. A secret that is there before and
// after is masked both times; that it is another one is said.
export function rows(differences) {
  return differences.map(({ path, before, after, secret }) => ({
    path,
    label: label(path),
    before: shown(before),
    added: before === null,
    removed: after === null,
    after: secret && before !== null && after !== null ? `${shown(after)} (changed)` : shown(after),
  }));
}

// The fields of `after` that are not what they were: what a PATCH sends.
export function patchOf(before, after) {
  return Object.fromEntries(Object.entries(after).filter(([name, value]) => !same(before[name], value)));
}

// Whether two values of JSON are the same, whatever the order of their names.
export function same(one, other) {
  if (one === other) return true;
  if (!one || !other || typeof one !== "object" || typeof other !== "object") return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => Object.hasOwn(other, name) && same(one[name], other[name]));
}

// Names and values of rows as an env; rows without a name and a value do not count. Throws what is wrong with them.
export function envOf(pairs) {
  const env = new Map();
  for (const [name, value] of pairs.map(([name, value]) => [name.trim(), value])) {
    if (!name && !value) continue;
    if (!name) throw new Error("A variable has a value and no name.");
    if (env.has(name)) throw new Error(`The variable ${name} is there twice.`);
    env.set(name, value);
  }
  return Object.fromEntries(env);
}

// A health check from its fields as texts; null without a command. A command that is a JSON array goes without a shell.
export function healthOf({ test, interval_s, timeout_s, retries, start_period_s }) {
  const command = test.trim();
  if (!command) return null;
  const given = { interval_s, timeout_s, retries, start_period_s };
  const numbers = Object.entries(given).filter(([, text]) => text.trim() !== "").map(([name, text]) => [name, Number(text)]);
  return { test: command.startsWith("[") ? listOf(command) : command, ...Object.fromEntries(numbers) };
}

// `[ -f /ready ]` is a command of the shell too.
function listOf(command) {
  try {
    return JSON.parse(command);
  } catch {
    return command;
  }
}
