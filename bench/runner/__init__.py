"""The parts of bench/run: what is run (plan), how (rounds), what came out (results, goals), and how it is shown."""
