"""Language models that can be asked, looked into and trained a little further: our proxies, Hugging Face's, callables. Guided tour:

opening        a path or name -> a model, whatever kind it is
"""
