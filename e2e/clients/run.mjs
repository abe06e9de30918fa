// Starts fleetsim arm, with pages of 1 and then of 50, and runs the clients against it:
//
//   node run.mjs PATH-OF-FLEETSIM
//
// The authority that signed the simulator's certificate has to be known before Node
// starts, so the checks run in a process of their own.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const bound = 180_000; // ms, for everything

const children = [];

// start runs a simulator and returns its addresses, which are its first two lines.
async function start(fleetsim, dir, pageSize) {
  const ca = join(dir, `ca-${pageSize}.pem`);
  const child = spawn(fleetsim, ["arm", "--tls", "--ca-out", ca, "--control", "127.0.0.1:0", "--clock", "600", "--page-size", String(pageSize)],
    { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const lines = createInterface({ input: child.stdout });
  const found = [];
  for await (const line of lines) {
    found.push(line.replace(/^control /, ""));
    if (found.length === 2) break;
  }
  if (found.length < 2) throw new Error("fleetsim arm ended before it was ready");
  return { endpoint: found[0], control: found[1], ca };
}

// test runs the checks and returns their exit code.
function test(environment) {
  const file = fileURLToPath(new URL("clients.test.mjs", import.meta.url));
  const child = spawn(process.execPath, ["--test", "--test-reporter=spec", file], { stdio: "inherit", env: { ...process.env, ...environment } });
  children.push(child);
  return new Promise((done) => child.on("exit", (code) => done(code ?? 1)));
}

async function main(fleetsim) {
  const dir = await mkdtemp(join(tmpdir(), "fleetsim-clients-"));
  const late = setTimeout(() => {
    console.error(`the clients are not done after ${bound / 1000} s`);
    for (const child of children) child.kill("SIGKILL");
  }, bound);
  try {
    let worst = 0;
    for (const pageSize of [1, 50]) {
      const { ca, ...addresses } = await start(fleetsim, dir, pageSize);
      const code = await test({ NODE_EXTRA_CA_CERTS: ca, SIMULATOR: JSON.stringify({ pageSize, ...addresses }) });
      worst = Math.max(worst, code);
    }
    return worst;
  } finally {
    clearTimeout(late);
    for (const child of children) child.kill("SIGTERM");
    await rm(dir, { recursive: true, force: true });
  }
}

if (process.argv.length !== 3) {
  console.error("usage: node run.mjs PATH-OF-FLEETSIM");
  process.exit(2);
}
process.exit(await main(resolve(process.argv[2])));
