def test_a_message_goes_all_the_way(qmgr):
    qmgr.smar()
    agent = qmgr.agent()
    ta_id = qmgr.smtps().mail("r@to.example")
    (job,) = agent.wait_jobs(1)
    assert (job.msg.ta_id, job.msg.mail, job.rcpts) == (ta_id, "s@from.example", ["r@to.example"])
    qmgr.wait_empty()
