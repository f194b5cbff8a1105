"""Rule tests: their files, the traffic that they describe, and the judgement of what rang.

Pure: `app.runners.ruletest` plays the traffic through the engine and hands the events back.
"""
