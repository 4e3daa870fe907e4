"""Rehearsal of a job: against a loopback site that misbehaves, killed at random moments, and judged.

`trouble_site` serves, `rehearsed_job` fits the user's settings to it, `rehearsal` runs and kills, `judgement`
says what was lost, `advice` what to change.
"""
