// What the contenders written for Node share: arguments, clock, and the lines of JSON that they print.

const { createRequire } = require('module');
const path = require('path');

function word(name, otherwise) {
    const at = process.argv.indexOf(name);
    return at < 0 ? otherwise : process.argv[at + 1];
}

// npm puts packages where it is told to: --modules FOLDER, else Node's own places.
function pool(options) {
    const modules = word('--modules', '');
    const from = modules ? createRequire(path.join(path.resolve(modules), 'any.js')) : require;
    return from('workerpool').pool(options);
}

module.exports = {
    word,
    pool,
    number: (name, otherwise) => Number(word(name, otherwise)),
    now: () => Number(process.hrtime.bigint()),
    show: (series, values, check) => console.log(JSON.stringify({ series, check, values })),
    addOne: (x) => x + 1,
};
