"""Watches a directory the way Covalent does, and prints each event as one line of JSON.

Usage: watch_tree.py PATH recursive|flat; prints "ready" when it watches, ends when its standard input ends.
"""

import json
import sys

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer


class Printer(FileSystemEventHandler):
    def say(self, event):
        line = {"kind": event.event_type, "path": event.src_path, "to": event.dest_path}
        print(json.dumps(line), flush=True)

    on_created = on_deleted = on_modified = on_moved = on_closed = say


observer = Observer()
observer.schedule(Printer(), sys.argv[1], recursive=sys.argv[2] == "recursive")
observer.start()
print("ready", flush=True)
sys.stdin.read()
observer.stop()
observer.join()
