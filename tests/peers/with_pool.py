"""multiprocessing.Pool, one apply_async for each item; for row 8 one map with a batch of 64."""

from multiprocessing import Pool

from peers import f, items, row, tell


def value(result):
    try:
        return result.get(timeout=1 if row() == 34 else None)
    except BaseException:  # TimeoutError; a worker's death is not told at all
        return None


def main():
    given, bad = items(row())
    pool = Pool(2)
    if row() == 8:
        try:
            outcomes = pool.map(f, given, chunksize=64)
        except BaseException:
            outcomes = [None] * len(given)
    else:
        results = [pool.apply_async(f, (item,)) for item in given]
        outcomes = [value(result) for result in results]
    try:
        works_after = [pool.apply_async(f, (i,)).get(timeout=10) for i in range(4)] == [0, 2, 4, 6]
    except BaseException:
        works_after = False
    tell(outcomes, bad, works_after)


if __name__ == "__main__":
    main()
