"""``python -m lecturelib.experiments list``, and ``… run NAME [--jobs N] [--dask ADDRESS]``."""

import argparse

from lecturelib.experiments import experiments, run


def main(arguments=None):
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m lecturelib.experiments")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name all experiments and their numbers of cells")
    runner = commands.add_parser("run", help="run one and write its record")
    runner.add_argument("name", choices=list(experiments()), metavar="NAME")
    runner.add_argument("--jobs", type=int, default=1, help="processes; -1 for all cores")
    runner.add_argument("--dask", metavar="ADDRESS", help="scheduler of a Dask cluster")
    runner.add_argument("--cache", metavar="FOLDER", help="where finished cells are kept")
    options = parser.parse_args(arguments)
    if options.command == "list":
        for name, experiment in experiments().items():
            print(f"{name}: {len(experiment.grid)} cells")
    else:
        run(options.name, jobs=options.jobs, dask=options.dask, cache=options.cache)


if __name__ == "__main__":
    main()
