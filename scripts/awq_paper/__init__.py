"""The parts of `reproduce_awq.py`: an experiment each in `methods`, `salient`, `alpha` and
`calibration`; what they work on in `plan`, `model` and `text`; what shows their results in `tables`
and `plots`.
"""
