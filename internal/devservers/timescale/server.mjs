// PostgreSQL with TimescaleDB in WebAssembly, for tests: a new, empty database
// in memory that serves one connection at a time. It prints its port when it is
// ready, and ends when its standard input is closed.
import { PGlite } from '@electric-sql/pglite'
import { timescaledb } from '@electric-sql/pglite/timescaledb'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'

const db = await PGlite.create({ extensions: { timescaledb } })
// Over the socket this statement would crash the server.
await db.exec('CREATE EXTENSION timescaledb')

const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port: 0 })
server.addEventListener('listening', (event) => console.log(event.detail.port))
await server.start()

process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
