// worker.js [-i ID] [-u] SERVERS FUNCTION[:TIMEOUT]...
//
// Serves the functions below.   -u grabs with GRAB_JOB_UNIQ
'use strict';

const fs = require('fs');
const { gearmanode, servers, options, say } = require('./guest');

const abilities = {
  reverse: (job) => job.workComplete(job.payload.toString().split('').reverse().join('')),

  // Everything that a job may send, then its result.
  story: (job) => {
    job.sendWorkData('one');
    job.reportWarning('careful');
    job.reportStatus(1, 2);
    job.sendWorkData('two');
    job.reportStatus(2, 2);
    job.workComplete('three');
  },

  fail: (job) => job.reportError(),
  exception: (job) => job.reportException('it broke'),
  describe: (job) => job.workComplete(`${job.handle} ${job.name} ${job.unique} ${job.payload.length}`),

  // Reports 1 of 4, then waits at the named pipe in the workload, and answers with what comes through it.
  gate: (job) => {
    job.reportStatus(1, 4);
    fs.readFile(job.payload.toString(), (error, text) => (error ? job.reportError() : job.workComplete(text)));
  },

  note: (job) => {
    say(job.payload.toString());
    job.workComplete('');
  },
};

const [option, [where, ...functions]] = options('i', 'u');
const worker = gearmanode.worker({ servers: servers(where), withUnique: Boolean(option.u) });
worker.on('error', (error) => console.error(String(error)));
if (option.i) worker.setWorkerId(option.i);
for (const word of functions) {
  const [name, timeout] = word.split(':');
  worker.addFunction(name, abilities[name], timeout ? { timeout: Number(timeout) } : {});
}
process.on('SIGTERM', () => process.exit(0));
