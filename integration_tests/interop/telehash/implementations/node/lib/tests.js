'use strict'
// The tests: name -> role -> what it does. A worker's promise is kept when it is ready, a driver's when it is done.

const crypto = require('crypto')
const fs = require('fs')
const telehash = require('telehash')
const endpoint = require('./endpoint')
const events = require('./events')

const SHARED = process.env.INTEROP_SHARED || '/shared'
const SEED = process.env.INTEROP_SEED || null
const COUNT = 100
const WINDOW = 20

const path = (role) => `${SHARED}/id_${role}.json`

// Whole or not at all: the other may be reading.
function publish (role, value) {
  fs.writeFileSync(`${path(role)}.new`, JSON.stringify(value))
  fs.renameSync(`${path(role)}.new`, path(role))
}

const load = (role) => JSON.parse(fs.readFileSync(path(role)))

function within (seconds, what, begin) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what}: not within ${seconds} s`)), seconds * 1000)
    begin((value) => { clearTimeout(timer); resolve(value) }, (why) => { clearTimeout(timer); reject(new Error(`${what}: ${why}`)) })
  })
}

const after = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

const body = (n) => Buffer.from(`${n}:` + crypto.createHash('sha256').update(`${SEED || 0}:${n}`).digest('hex').repeat(n % 8 + 1))

// The digest of bodies in an order.
function order () {
  const hash = crypto.createHash('sha256')
  return { add: (bytes) => hash.update(bytes).update('\n'), value: () => hash.digest('hex') }
}

// ---- both roles of a link

async function accepting () {
  const self = await endpoint.open('worker')
  let told = false
  self.mesh.accept = (from) => {
    const link = self.link(from)
    link.on('status', (down) => {
      if (down || told) return
      told = true
      events.assert('link.worker', self.hashname)
      events.assert('link.driver', link.hashname)
    })
  }
  publish('worker', { hashname: self.hashname, keys: self.keys, paths: self.paths })
  return self
}

async function linked () {
  const self = await endpoint.open('driver')
  publish('driver', { hashname: self.hashname, keys: self.keys })
  events.send('ready')
  const worker = load('worker')
  const link = await within(10, 'the link', (up) => {
    const link = self.link({ keys: worker.keys, paths: worker.paths })
    const again = setInterval(() => link.sync(), 1000)
    link.on('status', (down) => { if (!down) { clearInterval(again); up(link) } })
  })
  return { self, link, worker }
}

function told_who (self, link) {
  events.assert('link.worker', telehash.hashname.fromKeys(link.json.keys))
  events.assert('link.driver', self.hashname)
}

function opened (link, json) {
  const channel = link.x.channel({ json: { c: link.x.cid(), ...json } })
  channel.json = { type: json.type, ...(json.seq ? { seq: json.seq } : {}) }
  return channel
}

// ---- tests

async function sanity (role) {
  await endpoint.open(role)
  events.assert('seed', SEED)
  events.send('ready')
}

async function net_link_worker () {
  const self = await accepting()
  self.serve('interop-close', (channel) => {
    channel.receiving = (error, packet, next) => { channel.send({ json: { end: true } }); next(error) }
  })
  events.send('ready')
}

async function net_link_driver () {
  const { self, link } = await linked()
  for (let n = 0; n < 10; n++) {
    await within(2, `question ${n + 1}`, (answered, wrong) => {
      const channel = opened(link, { type: 'path' })
      channel.receiving = (error, packet, next) => { error ? wrong(error) : answered(); next() }
      channel.send({ json: { type: 'path', paths: self.paths } })
    })
    await after(100)
  }
  await within(2, 'the end of the channel', (ended, wrong) => {
    const channel = opened(link, { type: 'interop-close' })
    channel.receiving = (error, packet, next) => { error ? wrong(error) : packet.json.end && ended(); next() }
    channel.send({ json: { type: 'interop-close' } })
  })
  link.close()
  told_who(self, link)
}

async function reliable_worker () {
  const self = await accepting()
  self.serve('interop-reliable', (channel) => {
    const there = order()
    const back = order()
    let count = 0
    let wrong = ''
    channel.receiving = (error, packet, next) => {
      if (error) return next(error)
      if (packet.body.length) {
        if (!packet.body.equals(body(++count))) wrong = wrong || `packet ${count} is ${packet.body.subarray(0, 12).toString('latin1')}...`
        there.add(packet.body)
        back.add(packet.body)
        channel.send({ json: {}, body: packet.body })
      }
      if (packet.json.end) {
        events.check('reliable', !wrong && count === COUNT, wrong || `${count} of ${COUNT} came`)
        events.assert('reliable.there', there.value())
        events.assert('reliable.back', back.value())
        channel.send({ json: { end: true } })
      }
      next()
    }
  })
  events.send('ready')
}

async function reliable_driver () {
  const { self, link } = await linked()
  const there = order()
  const back = order()
  let sent = 0
  let echoed = 0
  const channel = opened(link, { type: 'interop-reliable', seq: 1 })
  const more = () => {
    for (; sent < COUNT && sent - echoed < WINDOW;) {
      const bytes = body(++sent)
      there.add(bytes)
      channel.send({ json: sent === 1 ? { ...channel.json } : {}, body: bytes })
    }
  }
  await new Promise((resolve, reject) => {
    const silent = () => reject(new Error(`nothing came for 10 s after ${echoed} of ${COUNT} echoes`))
    let timer = setTimeout(silent, 10000)
    channel.receiving = (error, packet, next) => {
      clearTimeout(timer)
      if (error) return reject(new Error(`the channel failed after ${echoed} echoes: ${error}`))
      timer = setTimeout(silent, 10000)
      if (packet.body.length) {
        back.add(packet.body)
        if (!packet.body.equals(body(++echoed))) {
          return reject(new Error(`echo ${echoed} is ${packet.body.subarray(0, 12).toString('latin1')}...`))
        }
        if (echoed === COUNT) channel.send({ json: { end: true } })
        else more()
      }
      if (packet.json.end) { clearTimeout(timer); resolve() }
      next()
    }
    more()
  })
  events.assert('reliable.there', there.value())
  events.assert('reliable.back', back.value())
  link.close()
  told_who(self, link)
}

// What came on an unreliable channel, and whether that is enough.
function arrivals () {
  const seen = new Set()
  let wrong = ''
  return {
    add (bytes) {
      const n = parseInt(bytes.toString('latin1'), 10)
      if (!(n >= 1 && n <= COUNT) || !bytes.equals(body(n))) wrong = wrong || `a body is not as it was sent: ${bytes.subarray(0, 12).toString('latin1')}...`
      else if (seen.has(n)) wrong = wrong || `packet ${n} came twice`
      else seen.add(n)
    },
    count: () => seen.size,
    check () {
      const ok = !wrong && seen.size >= 0.9 * COUNT
      events.check('unreliable', ok, wrong || `${seen.size} of ${COUNT} came`)
      return ok
    }
  }
}

async function unreliable_worker () {
  const self = await accepting()
  self.serve('interop-unreliable', (channel) => {
    const came = arrivals()
    channel.receiving = (error, packet, next) => {
      if (error) return next(error)
      if (packet.body.length) {
        came.add(packet.body)
        channel.send({ json: {}, body: packet.body })
      }
      if (packet.json.end) {
        came.check()
        channel.send({ json: { end: true } })
      }
      next()
    }
  })
  events.send('ready')
}

async function unreliable_driver () {
  const { self, link } = await linked()
  const came = arrivals()
  let sent = 0
  let ended = false
  let heard = () => {}
  const channel = opened(link, { type: 'interop-unreliable' })
  channel.receiving = (error, packet, next) => {
    if (!error && packet.body.length) came.add(packet.body)
    if (!error && packet.json.end) ended = true
    heard()
    next(error)
  }
  // Resolves at the next packet, or after a while.
  const packet = (milliseconds) => new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), milliseconds)
    heard = () => { clearTimeout(timer); resolve(true) }
  })
  const next = () => channel.send({ json: ++sent === 1 ? { ...channel.json } : {}, body: body(sent) })
  let lost = 0
  while (sent < COUNT) {
    while (sent < COUNT && sent - lost - came.count() < WINDOW) next()
    if (sent < COUNT && !await packet(200)) lost = sent - came.count()
  }
  while (came.count() < COUNT && await packet(1000));
  for (let n = 0; n < 5 && !ended; n++) {
    channel.send({ json: { end: true } })
    while (!ended && await packet(200));
  }
  const ok = came.check()
  link.close()
  told_who(self, link)
  if (!ended) throw new Error('the channel was not ended by the worker')
  if (!ok) throw new Error('the channel lost too much, or changed something')
}

exports.sanity = { worker: () => sanity('worker'), driver: () => sanity('driver') }
exports['net-link'] = { worker: net_link_worker, driver: net_link_driver }
exports['channel-reliable'] = { worker: reliable_worker, driver: reliable_driver }
exports['channel-unreliable'] = { worker: unreliable_worker, driver: unreliable_driver }
