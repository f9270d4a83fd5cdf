"""Prints a CloudFormation template as JSON, its short forms (`!Ref`, `!Sub`, …) written out."""

import json
import sys

from cfnlint.decode import decode

template, problems = decode(sys.argv[1])
if problems:
    sys.exit("\n".join(str(problem) for problem in problems))
json.dump(template, sys.stdout)
