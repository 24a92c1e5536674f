// One warm call of Node's workerpool, with processes.

const { pool, number, show, now, addOne } = require('../common/peer.js');

async function main() {
    const workers = pool({ maxWorkers: 1, workerType: 'process' });
    const calls = number('--calls', 200);
    const took = [];
    let sum = 0;
    for (let i = -Math.floor(calls / 10); i < calls; ++i) {
        const began = now();
        const y = await workers.exec(addOne, [i]);
        if (i >= 0) {
            took.push(now() - began);
            sum += y;
        }
    }
    show('call_ns', took, sum);
    await workers.terminate();
}

main();
