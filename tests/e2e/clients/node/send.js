// Sends every kind that `hot-shots` can send, then exits.
//
// usage: send.js udp | tcp | unix | buffered | telegraf
'use strict';

const StatsD = require('hot-shots');

const udp = { host: process.env.STATSD_HOST, port: Number(process.env.STATSD_UDP_PORT) };
const modes = {
  udp,
  tcp: { protocol: 'tcp', host: process.env.STATSD_HOST, port: Number(process.env.STATSD_TCP_PORT) },
  unix: { protocol: 'uds', path: process.env.STATSD_SOCKET },
  buffered: { ...udp, maxBufferSize: 1000, bufferFlushInterval: 50 },
  telegraf: { ...udp, telegraf: true },
};
const mode = process.argv[2];
// Telegraf's dialect has no distributions, events, service checks and valueless tags.
const dogstatsd = mode !== 'telegraf';

// Makes sampling exact: of two calls with a rate of 0.5 one is sent.
let draws = 0;
Math.random = () => (draws++ % 2 ? 0.75 : 0.25);

const client = new StatsD({
  prefix: 'js.',
  globalTags: { app: 'shop' },
  includeDataDogTags: false,
  errorHandler: (error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
  ...modes[mode],
});

for (let i = 0; i < 30; i++) client.increment('requests', 1, { view: 'fire' });
client.increment('stock', 7);
client.decrement('stock', 3);
client.gauge('temperature', 21.5);
client.gauge('below_zero', -5);
client.gaugeDelta('level', 5);
client.gaugeDelta('level', -2);
for (const value of [1, 2, 3]) {
  client.histogram('size', value);
  client.timing('latency', value * 10);
  if (dogstatsd) client.distribution('spread', value);
}
client.set('users', 'alice');
client.unique('users', 'bob');
client.set('users', 'alice');
client.set('user_ids', 42);
for (let i = 0; i < 400; i++) client.increment('sampled', 1, 0.5);
if (dogstatsd) {
  client.event('title', 'text', { alert_type: 'info' });
  client.check('svc', client.CHECKS.OK, { message: 'fine' });
}
client.increment(['first', 'second']);
if (dogstatsd) client.increment('odd', 1, ['valueless', 'a:b,c', 'pipe:x|y', 'col:1:2']);
client.close((error) => {
  if (error) throw error;
});
