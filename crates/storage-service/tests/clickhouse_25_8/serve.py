"""Runs ClickHouse's own server, which the Python package chdb has in its library.

serve.py FOLDER CONFIG: the unpacked package, the server's config.xml.
"""

import ctypes
import sys

folder, config = sys.argv[1:]
library = ctypes.CDLL(f"{folder}/chdb/_chdb.abi3.so", mode=ctypes.RTLD_GLOBAL)
# int mainEntryClickHouseServer(int argc, char ** argv)
main = library["_Z25mainEntryClickHouseServeriPPc"]
arguments = [b"clickhouse-server", f"--config-file={config}".encode()]
sys.exit(main(len(arguments), (ctypes.c_char_p * (len(arguments) + 1))(*arguments, None)))
