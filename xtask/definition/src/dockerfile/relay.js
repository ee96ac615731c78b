// Passes on what packages are fetched by to the machine's proxy, with the login that this wants: npm of
// Debian sends it none, and no code of a package's needs to see it. RELAYED is the proxy; prints the port.
const http = require("http");
const https = require("https");

const decoded = (text) => {
    try {
        return decodeURIComponent(text);
    } catch {
        return text;
    }
};
const proxy = new URL(process.env.RELAYED);
const login = `${decoded(proxy.username)}:${decoded(proxy.password)}`;
const authorization = { "Proxy-Authorization": `Basic ${Buffer.from(login).toString("base64")}` };
const isSecure = proxy.protocol === "https:";
const ask = (method, path, headers) =>
    (isSecure ? https : http).request({
        host: proxy.hostname.replace(/^\[|\]$/g, ""),
        port: proxy.port || (isSecure ? 443 : 80),
        method,
        path,
        headers: { ...headers, ...authorization },
    });

const relay = http.createServer((request, response) => {
    const there = ask(request.method, request.url, request.headers);
    there.on("response", (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
    });
    there.on("error", () => response.destroy());
    request.pipe(there);
});
relay.on("connect", (request, here, first) => {
    const there = ask("CONNECT", request.url, { Host: request.url });
    here.on("error", () => there.destroy());
    there.on("error", () => here.destroy());
    there.on("connect", (answer, socket, rest) => {
        const is = `${answer.statusCode} ${answer.statusMessage}`;
        if (answer.statusCode !== 200) {
            here.end(`HTTP/1.1 ${is}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
            socket.destroy();
            return;
        }
        here.write(`HTTP/1.1 ${is}\r\n\r\n`);
        here.write(rest);
        socket.write(first);
        socket.on("error", () => here.destroy());
        here.on("close", () => socket.destroy());
        socket.pipe(here).pipe(socket);
    });
    there.end();
});
relay.listen(0, "127.0.0.1", () => console.log(relay.address().port));
