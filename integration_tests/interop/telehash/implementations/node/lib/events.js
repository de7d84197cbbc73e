'use strict'
// Events are lines of JSON on standard output; what belongs to a type is told by the test control protocol.

const fs = require('fs')

let last = 0

// At once and whole, so that nothing is lost when the process ends.
function write (text) {
  const bytes = Buffer.from(text)
  for (let sent = 0; sent < bytes.length;) {
    try {
      sent += fs.writeSync(1, bytes, sent)
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error
    }
  }
}

exports.send = (ty, info = {}) => write(JSON.stringify({ id: ++last, ty, in: info }) + '\n')
exports.assert = (id, value) => exports.send('assert', { assert_id: id, value })
exports.check = (id, ok, why) => exports.send('check', { check_id: id, ok, why })

const counters = {}
exports.number = (kind) => (counters[kind] = (counters[kind] || 0) + 1)
