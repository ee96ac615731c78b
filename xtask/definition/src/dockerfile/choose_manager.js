// Which package manager the lock beside package.json is of, and in which version: the one that
// package.json names (`packageManager`), else a known one that reads such a lock.
const fs = require("fs");

const has = (file) => fs.existsSync(file);
const read = (file) => (has(file) ? fs.readFileSync(file, "utf8") : "");
const manifest = JSON.parse(read("package.json"));
const locks = [
    ["package-lock.json", "npm"],
    ["npm-shrinkwrap.json", "npm"],
    ["pnpm-lock.yaml", "pnpm"],
    ["yarn.lock", "yarn"],
    ["bun.lock", "bun"],
    ["bun.lockb", "bun"],
].filter(([file]) => has(file));
const said = /^([a-z]+)(?:@(\d+\.\d+\.\d+[^+]*))?/.exec(String(manifest.packageManager ?? ""));
const [lock, name] = locks.find(([, name]) => said && said[1] === name) ?? locks[0];
const named = said && said[1] === name ? (said[2] ?? null) : null;

const bun = process.arch === "arm64" ? "@oven/bun-linux-aarch64" : "@oven/bun-linux-x64-baseline";
// Package, version and its hash.
const known = {
    pnpm7: ["pnpm", "7.33.7", "ev4kEGQrOcaY30baTOXHIxpczjYGmNafjPj0IlfUCz5D8jEFOwe43oSf1P+/SnH/V7g1E3d3o1I4jz09p0cgDg=="],
    pnpm8: ["pnpm", "8.15.9", "SZQ0ydj90aJ5Tr9FUrOyXApjOrzuW7Fee13pDzL0e1E6ypjNXP0AHDHw20VLw4BO3M1XhQHkyik6aBYWa72fgQ=="],
    pnpm: ["pnpm", "10.34.8", "9ieo6XE0Ov5J39D2PQKCNCAd+oMdXLWIcz4eX42ya/FpiaMhYatcG02zsf28NzFgYGtbieAC323RmoWt+R/FqA=="],
    yarn: ["yarn", "1.22.22", "prL3kGtyG7o9Z9Sv8IPfBNrWTDmXB4Qbes8A9rEzt6wkJV8mUvoirjU0Mp3GGAU06Y0XQyA3/2/RQFVuK7MTfg=="],
    berry: [
        "@yarnpkg/cli-dist",
        "4.18.1",
        "EH+A4TxAtBWXKE0DGQxW9Bo9crXHLJ73mfxjTQJuv8XonNWWTpei8BQ5JjczHJNU9GROTycwMFn8iOvRIZXUcA==",
    ],
    bun: [
        bun,
        "1.4.5",
        process.arch === "arm64"
            ? "4BXmsSKnjOrlGWqZV4x/oWa7AVoR+B6lCXddMzOAXBIm3t50eslg9wb66gmtW1AamEQ1l1CDvmmruysEhqOWMg=="
            : "s8yMwYcFnnrA178gji0gZbkE2WVDej/Ti1x770oPfihxyRxSMNhGhiAQNXV53aDeraZxksdvKV/RAdQBCd0qPA==",
    ],
};

let kind = name;
if (name === "yarn" && read(lock).includes("__metadata:")) kind = "berry";
let reader = kind;
if (name === "pnpm") {
    const format = Number(/^lockfileVersion: '?(\d+)/m.exec(read(lock))?.[1]);
    if (format < 6) reader = "pnpm7";
    else if (format < 9) reader = "pnpm8";
}
const at = "/opt/manager";
fs.writeFileSync(`${at}/kind`, kind);
if (kind !== "npm") {
    const [manager, version, hash] = known[reader];
    const wanted = { dependencies: { [manager]: named ?? version } };
    fs.writeFileSync(`${at}/package.json`, JSON.stringify({ private: true, ...wanted }));
    if ((named ?? version) === version) {
        const entry = { version, integrity: `sha512-${hash}` };
        if (manager === "@yarnpkg/cli-dist") entry.bin = { yarn: "bin/yarn.js" };
        if (manager === "yarn") entry.bin = { yarn: "bin/yarn.js" };
        if (manager === "pnpm") entry.bin = { pnpm: "bin/pnpm.cjs" };
        const packages = { "": wanted, [`node_modules/${manager}`]: entry };
        fs.writeFileSync(`${at}/package-lock.json`, JSON.stringify({ lockfileVersion: 3, packages }));
    }
}
const scripts = manifest.scripts ?? {};
const text = JSON.stringify(manifest);
const later =
    ["preinstall", "install", "postinstall", "prepare"].some((script) => script in scripts) ||
    manifest.workspaces !== undefined ||
    /patchedDependencies|":"(?:file|link|portal|patch|workspace):/.test(text) ||
    /^(?:packages|patchedDependencies|pnpmfile|configDependencies):/m.test(read("pnpm-workspace.yaml")) ||
    // What decides on packages as they are installed, and may need more of the project.
    (kind === "pnpm" && [".pnpmfile.cjs", ".pnpmfile.mjs"].some(has)) ||
    (kind === "berry" && /^(?:plugins|constraintsPath|patchFolder):/m.test(read(".yarnrc.yml")));
if (later) fs.writeFileSync(`${at}/later`, "");
console.log(kind === "npm" ? "npm" : `${name} ${named ?? known[reader][1]} of ${lock}`);
