// The few words of Redis' protocol that a counter needs.
const net = require("node:net");

const host = process.env.REDIS_HOST || "localhost";
const port = Number(process.env.REDIS_PORT || 63801);

function command(...words) {
  return new Promise((resolve, reject) => {
    const socket = net.createConnection({ host, port }, () => {
      socket.write(`*${words.length}\r\n` + words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join(""));
    });
    socket.setTimeout(5000, () => socket.destroy(new Error("redis does not answer")));
    socket.on("error", reject);
    socket.once("data", (data) => {
      socket.end();
      const text = data.toString();
      if (text.startsWith("-")) reject(new Error(text.trim()));
      else resolve(text.startsWith(":") ? Number(text.slice(1)) : text.trim());
    });
  });
}

module.exports = { command };
