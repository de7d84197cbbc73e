const http = require("node:http");
const { command } = require("./redis");

const server = http.createServer(async (request, response) => {
  const name = request.url.slice(1);
  try {
    const count = await command("INCRBY", name, request.method === "POST" ? "1" : "0");
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ name, count }));
  } catch (error) {
    response.writeHead(503);
    response.end(String(error));
  }
});

server.listen(Number(process.env.PORT || 3000), () => console.log("listening"));
