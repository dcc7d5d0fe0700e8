// A second, different broker for the tests: Aedes (https://github.com/moscajs/aedes), MQTT 3.1.1, in memory.
// Started by tests/real/aedes.py with one argument, JSON: port, websockets, largest (bytes of a payload), forbidden (end
// of a topic that nobody may write to), password ([name, password]).
import { createServer } from 'node:net'
import { createServer as createHttpServer } from 'node:http'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const wanted = JSON.parse(process.argv[2])
const require = createRequire(wanted.modules + '/')
const { Aedes } = await import(pathToFileURL(require.resolve('aedes')).href)
const broker = await Aedes.createBroker()

broker.authenticate = (client, name, password, done) => {
  const right = !wanted.password || (name === wanted.password[0] && String(password) === wanted.password[1])
  done(right ? null : Object.assign(new Error('no'), { returnCode: 4 }), right)
}
broker.authorizePublish = (client, packet, done) => {
  const forbidden = wanted.forbidden && packet.topic.endsWith(wanted.forbidden)
  const large = wanted.largest && packet.payload.length > wanted.largest
  if (client && (forbidden || large)) { client.conn.destroy(); return } // it hangs up, and says nothing
  done(null)
}

if (wanted.websockets) {
  const { WebSocketServer, createWebSocketStream } = require('ws')
  const http = createHttpServer()
  const server = new WebSocketServer({ server: http, path: '/mqtt', handleProtocols: () => 'mqtt' })
  server.on('connection', (socket, request) => broker.handle(createWebSocketStream(socket), request))
  http.listen(wanted.websockets, '127.0.0.1')
}
createServer(broker.handle).listen(wanted.port, '127.0.0.1')
