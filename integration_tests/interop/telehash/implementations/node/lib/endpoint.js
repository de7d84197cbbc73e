'use strict'
// A mesh of telehash that says what happens in it.

const dns = require('dns')
const telehash = require('telehash')
const events = require('./events')

telehash.log({ info: (...words) => console.error(...words), debug () {} })

// RSA keys (2a) take seconds to generate, and nobody here lacks one of the others.
delete telehash.e3x.cs['2a']

// The only transport and what it needs: the others open ports that no test asks for.
const extensions = {}
for (const name of ['udp4', 'path']) extensions[name] = telehash.extensions[name]

// The address of a role in this cell: as an address, a name that resolves, or any.
function address (role) {
  const peers = new Map((process.env.INTEROP_PEERS || '').split(/\s+/).filter(Boolean).map((peer) => peer.split('=')))
  return new Promise((resolve) => {
    dns.lookup(peers.get(role) || role, { family: 4 }, (error, found) => resolve(error ? '0.0.0.0' : found))
  })
}

const generate = () => new Promise((resolve, reject) => {
  telehash.generate((error, id) => error ? reject(error) : resolve(id))
})

const shown = (packet) => ({ header: packet.json, body: (packet.body || Buffer.alloc(0)).toString('latin1') })

// Everything of a channel goes through "receive" and "send".
function watch_channel (exchange_id, channel) {
  const channel_id = events.number('channel')
  const { receive, send } = channel
  events.send('channel.new', {
    exchange_id, channel_id, channel: { type: channel.type, reliable: channel.reliable, cid: channel.id }
  })
  channel.receive = (packet) => {
    const dropped = channel.state === 'ended' || channel.state === 'gone'
    const of = { channel_id, packet_id: events.number('packet'), packet: shown(packet) }
    if (dropped) events.send('channel.drop.packet', { ...of, reason: `the channel is ${channel.state}` })
    else events.send('channel.rcv.packet', of)
    return receive(packet)
  }
  channel.send = (packet) => {
    const packet_id = events.number('packet')
    const result = send(packet)
    const of = { channel_id, packet_id, path: '', packet: shown(packet) }
    events.send('channel.write', of)
    if (result && result.catch) {
      result.catch((error) => events.send('channel.write.error', { ...of, reason: String(error) }))
    }
    return result
  }
  return channel
}

function watch_exchange (endpoint_id, link) {
  const exchange_id = events.number('exchange')
  const { sync, receive, channel } = link.x
  events.send('exchange.new', { endpoint_id, exchange_id })
  link.x.sync = (handshake, inner) => {
    const told = {
      exchange_id,
      packet_id: events.number('packet'),
      handshake: {
        csid: parseInt(link.x.csid, 16),
        public_key: link.json.keys[link.x.csid],
        at: inner.json.at,
        parts: telehash.hashname.intermediates(link.json.keys)
      }
    }
    return sync(handshake, inner).then(
      (result) => { events.send('exchange.rcv.handshake', told); return result },
      (error) => { events.send('exchange.drop.handshake', { ...told, reason: String(error) }); throw error })
  }
  link.x.receive = (packet) => {
    const of = { exchange_id, packet_id: events.number('packet') }
    return receive(packet).then(
      (inner) => { events.send('exchange.rcv.packet', { ...of, packet: shown(inner) }); return inner },
      (error) => { events.send('exchange.drop.packet', { ...of, packet: shown(packet), reason: String(error) }); throw error })
  }
  link.x.channel = (open) => watch_channel(exchange_id, channel(open))
  let started = false
  link.on('status', (down) => {
    if (!down && !started) events.send('exchange.started', { exchange_id, peer: link.hashname })
    if (down && started) events.send('exchange.stopped', { exchange_id })
    started = !down
  })
}

// Makes an endpoint of a role and starts it.
exports.open = async (role) => {
  const endpoint_id = events.number('endpoint')
  const ip = await address(role)
  const id = await generate()
  const keys = { ...id.keys }
  events.send('endpoint.new', { endpoint_id, hashname: id.hashname })

  const opens = {} // type -> handler of channels that the other side opens
  const serve = {
    name: 'interop',
    mesh: (mesh, done) => done(null, { open: opens })
  }
  const mesh = await new Promise((resolve, reject) => {
    telehash.mesh({ id, ip, extensions: { ...extensions, serve } }, (error, made) => error ? reject(error) : resolve(made))
  })
  mesh.log.error = (...words) => events.send('endpoint.error', { endpoint_id, error: words.map(String).join(' ') })
  mesh.log.info = (...words) => events.send('endpoint.drop.packet', {
    endpoint_id, packet_id: events.number('packet'), reason: String(words[0]), packet: { src: JSON.stringify(words[1]), msg: String(words[2]) }
  })

  const receive = mesh.receive
  mesh.receive = function (packet, pipe) {
    events.send('endpoint.rcv.packet', {
      endpoint_id,
      packet_id: events.number('packet'),
      packet: { src: pipe.path ? `${pipe.path.ip}:${pipe.path.port}` : '', msg: packet.toString('hex') }
    })
    return receive.apply(mesh, arguments)
  }

  // There is one link to a hashname; it is watched from the moment that it has an exchange.
  const watched = new Set()
  const link = (to) => {
    const made = mesh.link(to)
    if (made && made.x && !watched.has(made)) {
      watched.add(made)
      watch_exchange(endpoint_id, made)
    }
    return made
  }
  const path = mesh.paths().find((found) => found.type === 'udp4')
  events.send('endpoint.started', { endpoint_id })

  return {
    mesh,
    keys,
    link,
    hashname: mesh.hashname,
    // The interfaces that the library lists may not be those of this cell.
    paths: [{ type: 'udp4', ip: ip === '0.0.0.0' ? path.ip : ip, port: path.port }],
    // Handles the channels of a type that others open; an open that comes again is the channel's that it has made.
    serve (type, handle) {
      opens[type] = function (args, packet) {
        const known = this.x.channels[packet.json.c]
        if (known && known.state !== 'gone') return known.receive(packet)
        const channel = this.x.channel(packet)
        handle(channel)
        channel.receive(packet)
      }
    }
  }
}
