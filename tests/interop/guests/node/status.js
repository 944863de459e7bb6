// status.js SERVERS FUNCTION WORKLOAD
//
// Submits a background job and, for each line on its input, asks for its status and prints it.
'use strict';

const readline = require('readline');
const { gearmanode, servers, options, say } = require('./guest');

const [, [where, name, workload]] = options('');
const client = gearmanode.client({ servers: servers(where) });
const job = client.submitJob(name, workload, { background: true });
job.on('created', () => job.getStatus());
job.on('status', (status) => {
  say(`known=${status.known} running=${status.running} ${status.percent_done_num}/${status.percent_done_den}`);
  if (status.known === '0' || status.known === 0 || status.known === false) client.close();
  else setTimeout(() => job.getStatus(), 20);
});
