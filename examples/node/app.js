// A small web service on a socket that it inherits, with proper draining.
//
// The listening socket comes from the parent as descriptor 3 (LISTEN_FDS);
// started by hand, it binds $PORT.
//
// On SIGTERM it stops accepting, answers what is in progress and the next
// request of every kept-alive connection with "Connection: close", closes
// connections that stay silent for DRAIN_IDLE_MS, and exits.  Node's own
// http.Server.close() is not enough: it closes idle connections at once, and
// with them the requests that are on their way.
'use strict';

const { spawn } = require('node:child_process');
const http = require('node:http');
const net = require('node:net');

const { env, pid } = process;
const version = env.VERSION || '1';
const drainIdleMs = Number(env.DRAIN_IDLE_MS || 2000);
const lingerMs = 1000;
const sockets = new Set();
let draining = false;

// sd_notify(3).  Node has no unix datagram sockets, so a helper sends it:
// reeve's own, or systemd's under systemd.
function notify(message) {
  if (env.NOTIFY_SOCKET) {
    const [helper, option] = env.REEVE_EXECUTABLE
      ? [env.REEVE_EXECUTABLE, 'notify'] : ['systemd-notify', '--no-block'];
    spawn(helper, [option, message], { stdio: 'ignore' })
      .on('error', () => {});
  }
}

function reply(request, response, status, body) {
  const { socket } = request;
  socket.inProgress--;
  // The last answer is the one that no request is queued behind.
  if (draining && socket.lastRequest === request) {
    response.shouldKeepAlive = false;
  }
  response.writeHead(status, {
    'Content-Type': 'text/plain',
    'Content-Length': Buffer.byteLength(body),
  });
  response.end(body);
}

const server = http.createServer((request, response) => {
  const { socket } = request;
  socket.inProgress++;
  socket.lastRequest = request;
  const url = new URL(request.url, 'http://localhost');
  const hello = `pid=${pid} worker=${env.REEVE_WORKER || '-'}`
    + ` generation=${env.REEVE_GENERATION || '-'} version=${version}\n`;
  if (url.pathname === '/') {
    reply(request, response, 200, hello);
  } else if (url.pathname === '/health') {
    reply(request, response, 200, 'ok\n');
  } else if (url.pathname === '/slow') {
    const ms = Number(url.searchParams.get('ms'));
    setTimeout(() => reply(request, response, 200, hello), ms);
  } else {
    reply(request, response, 404, 'no such page\n');
  }
});
server.keepAliveTimeout = 60000;

// Sends FIN, and closes when the client has: close() with unread bytes would
// reset the connection, the last answer included.
function sayGoodbye(socket) {
  socket.end();
  socket.on('end', () => socket.destroy());
  setTimeout(() => socket.destroy(), lingerMs).unref();
}

server.on('connection', (socket) => {
  socket.inProgress = 0;
  socket.destroySoon = () => sayGoodbye(socket); // After the last answer.
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket));
});

// Closes the connections that received nothing since the last round.  A timer
// runs just before the sockets are read, setImmediate just after: bytes that
// wait unread are seen, and count.
function closeSilent() {
  setImmediate(() => {
    for (const socket of sockets) {
      if (socket.inProgress === 0 && socket.seen === socket.bytesRead) {
        sayGoodbye(socket);
      }
      socket.seen = socket.bytesRead;
    }
  });
}

function drain() {
  if (draining) {
    return;
  }
  draining = true;
  net.Server.prototype.close.call(server); // Ends accepting, nothing else.
  for (const socket of sockets) {
    socket.seen = socket.bytesRead;
  }
  // Node exits by itself when the last connection is gone.
  setInterval(closeSilent, drainIdleMs).unref();
  notify('STOPPING=1');
}

process.on('SIGTERM', drain);
process.on('SIGINT', drain);

const inherited = Number(env.LISTEN_PID) === pid;
server.listen(inherited ? { fd: 3 }
  : { host: '127.0.0.1', port: Number(env.PORT || 8080) }, () => {
  notify('READY=1');
  if (env.WATCHDOG_USEC) {
    setInterval(() => notify('WATCHDOG=1'), env.WATCHDOG_USEC / 2000)
      .unref();
  }
});
