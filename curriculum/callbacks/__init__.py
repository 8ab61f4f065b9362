"""Probes inside other trainers' loops. Guided tour:"""
