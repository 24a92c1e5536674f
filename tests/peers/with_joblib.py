"""joblib.Parallel with its own executor, loky."""

from joblib import Parallel, delayed

from peers import f, items, row, tell


def main():
    given, bad = items(row())
    outcomes = [None] * len(given)
    try:
        outcomes = Parallel(n_jobs=2, timeout=1 if row() == 34 else None, batch_size=64 if row() == 8 else 1)(
            delayed(f)(item) for item in given
        )
    except BaseException:  # TerminatedWorkerError, TimeoutError
        pass
    try:
        works_after = Parallel(n_jobs=2, timeout=10)(delayed(f)(i) for i in range(4)) == [0, 2, 4, 6]
    except BaseException:
        works_after = False
    tell(outcomes, bad, works_after)


if __name__ == "__main__":
    main()
