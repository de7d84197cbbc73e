'use strict'
// th-test TEST ROLE: what a matrix starts.

const events = require('./lib/events')
const tests = require('./lib/tests')

const [test, role] = process.argv.slice(2)
const run = Object.hasOwn(tests, test) && tests[test][role]

if (!run) {
  console.error(`cannot be ${role} in ${test}`)
  process.exit(127)
}

// As process 1 of a container nothing else would heed it.
process.on('SIGTERM', () => process.exit(143))

run().then(
  () => { if (role === 'driver') { events.send('done'); process.exit(0) } },
  (error) => { console.error(error && error.stack || error); process.exit(1) }
)
