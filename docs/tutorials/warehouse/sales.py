"""The shop that writes sales, and the report that reads the warehouse's file.

sales.py sell FIRST LAST    sales FIRST to LAST as JSON lines, for `highwater produce`
sales.py report FILE        what was sold where, from the file; nothing of it asks the broker
"""

import json
import sys
from collections import Counter

COUNTRIES = ["at", "ch", "de", "fr"]


def sale(number):
    return {"sale": number, "country": COUNTRIES[number * 5 % 7 % 4], "cents": 199 + number * 31 % 977}


def sell(first, last):
    for number in range(int(first), int(last) + 1):
        print(json.dumps(sale(number)))


def report(path):
    sales, cents, seen = Counter(), Counter(), Counter()
    with open(path) as lines:
        for line in lines:
            row = json.loads(line)
            seen[row["sale"]] += 1
            sales[row["country"]] += 1
            cents[row["country"]] += row["cents"]
    for country in sorted(sales):
        print(f"{country} {sales[country]:4} sales {cents[country] / 100:9.2f}")
    missing = sum(1 for number in range(1, max(seen) + 1) if number not in seen)
    print(f"{len(seen)} sales, {sum(seen.values()) - len(seen)} twice, {missing} missing")


{"sell": sell, "report": report}[sys.argv[1]](*sys.argv[2:])
