// What the guest programs in JavaScript share: their arguments, and a quiet library.
'use strict';

const winston = require('winston');

// The library logs through winston, and this version of winston complains about loggers that go nowhere.
const silent = () => ({ silent: true, transports: [new winston.transports.Console({ silent: true })] });
winston.configure(silent());
for (const part of ['Client', 'Worker', 'JobServer', 'Job', 'LBStrategy', 'ServerManager', 'protocol']) {
  winston.loggers.add(part, silent());
}
const gearmanode = require('gearmanode');

/** "host:port,host:port" as the library wants it. */
exports.servers = (text) => text.split(',').map((one) => {
  const [host, port] = one.split(':');
  return { host, port: Number(port) };
});

/** Takes the options off the command line: letters with a value, and letters without. */
exports.options = (withValue, without = '') => {
  const words = process.argv.slice(2);
  const found = {};
  while (words.length && words[0].startsWith('-') && words[0].length === 2) {
    const letter = words.shift()[1];
    if (withValue.includes(letter)) found[letter] = words.shift();
    else if (without.includes(letter)) found[letter] = true;
    else throw new Error(`no option -${letter}`);
  }
  return [found, words];
};

exports.say = (...words) => console.log(words.join(' ').trimEnd());
exports.gearmanode = gearmanode;
