// tasks.js [-k HIGH|NORMAL|LOW] [-u UNIQUE] [-b] [-e TEXT] [-x] SERVERS FUNCTION=WORKLOAD...
//
// Jobs at once, with every event. Prints each: its name, the workload's place, and what came.
//   -b in the background: prints the handles   -e sends an echo first   -x asks for exceptions
'use strict';

const { gearmanode, servers, options, say } = require('./guest');

const [option, [where, ...words]] = options('kue', 'bx');
const client = gearmanode.client({ servers: servers(where) });
client.on('jobServerError', (server, code, message) => {
  say('error', code, message);
  process.exit(0);
});
client.on('socketError', (server, error) => say('socket', error.code));

let left = words.length;
const done = () => {
  left -= 1;
  if (left === 0) client.close();
};

const submit = () => words.forEach((word, at) => {
  const [name, workload] = word.split(/=(.*)/s);
  const job = client.submitJob(name, workload, {
    background: Boolean(option.b),
    priority: option.k || 'NORMAL',
    unique: option.u,
  });
  if (job instanceof Error) throw job;
  const place = at + 1;
  job.on('created', () => {
    say('created', place, option.b ? job.handle : 'handle');
    if (option.b) done();
  });
  job.on('workData', (data) => say('data', place, data));
  job.on('warning', (data) => say('warning', place, data));
  job.on('status', (status) => say('status', place, `${status.percent_done_num}/${status.percent_done_den}`));
  job.on('complete', () => { say('complete', place, job.response); done(); });
  job.on('failed', () => { say('fail', place); done(); });
  job.on('exception', (text) => { say('exception', place, text); done(); });
  job.on('error', (error) => { say('error', place, error); done(); });
});

const server = client.jobServers[0];
const asks = [];
if (option.e) asks.push(() => { server.once('echo', (text) => { say('echo', text); next(); }); server.echo(option.e); });
if (option.x) asks.push(() => { server.once('option', (name) => { say('option', name); next(); }); server.setOption('exceptions'); });
const next = () => (asks.length ? asks.shift()() : submit());
next();
