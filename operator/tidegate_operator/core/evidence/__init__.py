"""What requests prove about a candidate: pure states, and what follows from them.

Harm, which agents compute too, is in `tidegate_contract.evidence`, and so are scrapes, and how states are kept. Here:

    promotion   it is not worse than stable by the tolerance; how many requests that still takes
    split       requests really are divided by the weights
    slow        which answers count as slow
    shift       its answers are other ones
    losses      labels, and both versions' answers to the same request
    policy      what all of that leads to: the next step, promotion, a strike, a way back

None of them asks when it is looked at, or how often. docs/evidence.md says what each proves, and what it takes for
granted.
"""
