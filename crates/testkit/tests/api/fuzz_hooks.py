"""Makes generated calls meet what there is: ids that were seen in answers, the caller's organization, the present version.

And keeps schemathesis from sawing off the branch it sits on: its own key, user and organization are not changed.
"""

import os
import random
import re
from collections import defaultdict

import schemathesis

OWN = set(os.environ["CLM_FUZZ_OWN"].split())
NOBODY = "0199f0c0-0000-7000-8000-000000000000"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
READS = {"GET", "HEAD", "OPTIONS", "TRACE"}

# Paths whose ids another list shows.
LISTED = {"/api/v1/members": "/api/v1/users", "/api/v1/me/memberships": "/api/v1/organizations"}

seen = defaultdict(list)
choice = random.Random(1)


def kind(path):
    """The words before the first parameter, which are those of the list."""
    words = path.split("{")[0].rstrip("/")
    return LISTED.get(words, words)


@schemathesis.hook
def before_call(context, case, kwargs):
    is_read = case.method.upper() in READS
    known = seen[kind(case.operation.path)]
    for name, value in case.path_parameters.items():
        if known and UUID.fullmatch(str(value)) and choice.random() < 0.8:
            value = choice.choice(known)
        case.path_parameters[name] = NOBODY if not is_read and str(value).lower() in OWN else value
    for name in list(case.headers or {}):
        if name.lower() == "clm-organization" and UUID.fullmatch(str(case.headers[name])):
            del case.headers[name]
        elif name.lower() == "if-match" and choice.random() < 0.8:
            case.headers[name] = "*"


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code not in (200, 201) or "json" not in response.headers.get("content-type", [""])[0]:
        return
    body = response.json()
    if not isinstance(body, dict):
        return
    for item in body.get("items") or body.get("Resources") or [body]:
        if isinstance(item, dict) and UUID.fullmatch(str(item.get("id"))):
            known = seen[kind(case.operation.path)]
            if item["id"] not in known and len(known) < 20:
                known.append(item["id"])
