// Trivial items by Node's workerpool, with processes: an exec for each.

const { pool, number, show, now, addOne } = require('../common/peer.js');

async function main() {
    const workers = pool({ maxWorkers: number('--workers', 2), workerType: 'process' });
    const items = Array.from({ length: number('--items', 10000) }, (_, i) => i);
    const took = [];
    let sum = 0;
    for (let round = -1; round < number('--rounds', 1); ++round) {
        const began = now();
        const results = await Promise.all(items.map((x) => workers.exec(addOne, [x])));
        if (round >= 0)
            took.push(now() - began);
        sum = results.reduce((a, b) => a + b, 0);
    }
    show('total_ns', took, sum);
    await workers.terminate();
}

main();
