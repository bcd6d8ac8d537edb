"""Starts processes on its host, forked from one that has imported all, which takes seconds.

Each line on standard input is a JSON list: a file for what it prints, the function of
host_fault_rank.py, and its arguments. The answer is the process's id. It is no other one's until
the server ends, which waits for none of them.
"""

import gc
import json
import os
import sys
import traceback

import host_fault_rank


def main() -> None:
    gc.freeze()  # no collection shall copy this process's heap into its forks
    for line in sys.stdin:
        log, name, *arguments = json.loads(line)
        process = os.fork()
        if process == 0:
            printed = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            try:
                getattr(host_fault_rank, name)(*arguments)
            except BaseException:
                traceback.print_exc()
            os._exit(0)  # a group that has lost a rank is of no more use, not even to be ended
        print(process, flush=True)


main()
