"""Runs scim2-tester against a server: address, file with the trust anchors; the API key on standard input.

Prints one line per check that is neither a success nor skipped, and the number of checks; fails on any error.
"""

import ssl
import sys

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import check_server
from scim2_tester.utils import Status

FAILED = {Status.ERROR, Status.CRITICAL}


def main() -> int:
    url, anchors = sys.argv[1:]
    headers = {"Authorization": f"Bearer {sys.stdin.read().strip()}"}
    context = ssl.create_default_context(cafile=anchors)
    with Client(base_url=url, headers=headers, verify=context, timeout=60) as http:
        results = check_server(SyncSCIMClient(http))
    done = [result for result in results if result.status != Status.SKIPPED]
    for result in results:
        if result.status not in {Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE}:
            print(result.status.name, result.resource_type or "", result.title, result.reason, result.data)
    print("checks:", len(done))
    return 1 if any(result.status in FAILED for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
