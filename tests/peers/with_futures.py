"""concurrent.futures.ProcessPoolExecutor, one future for each item; for row 8 one map with a batch of 64."""

from concurrent.futures import ProcessPoolExecutor

from peers import f, items, row, tell


def value(future):
    try:
        return future.result(timeout=1 if row() == 34 else None)
    except BaseException:  # BrokenProcessPool, TimeoutError
        return None


def main():
    given, bad = items(row())
    pool = ProcessPoolExecutor(max_workers=2)
    outcomes = [None] * len(given)
    if row() == 8:
        try:
            for i, result in enumerate(pool.map(f, given, chunksize=64)):
                outcomes[i] = result
        except BaseException:
            pass
    else:
        futures = [pool.submit(f, item) for item in given]
        outcomes = [value(future) for future in futures]
    try:
        works_after = [pool.submit(f, i).result(timeout=10) for i in range(4)] == [0, 2, 4, 6]
    except BaseException:
        works_after = False
    tell(outcomes, bad, works_after)


if __name__ == "__main__":
    main()
